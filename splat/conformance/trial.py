"""A strategy on trial: short runs of it on a tiny scene, looked at after every step."""

from __future__ import annotations

import contextlib
import inspect
import random
import traceback
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splat import datasets, kernels
from splat.core.cloud import Cloud
from splat.core.edit import Change
from splat.core.model import Making, Model
from splat.core.objective import Photometric
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.datasets import demo
from splat.evaluation.evaluate import mean_psnr
from splat.kernels import one_torch_thread
from splat.loop import Run, advance
from splat.options import Options
from splat.runs.checkpoint import State, restore, rows, save
from splat.training.prepare import Job, prepare, start_rows

VIEWS, WIDTH, HEIGHT, POINTS = 9, 48, 36, 240
"""Size of the scene of trials, so small that a step takes a millisecond."""
MOST_ROWS = 1000
"""Cap of a strategy on trial whose own is higher."""
QUIET_STEPS = 60
"""Steps that are compared where nothing is ever edited."""
EDITS_SEEN = 3
"""Edits that the compared steps contain."""
Fingerprints = Mapping[str, int]
"""A checksum of every tensor of a cloud, by name."""


class Broken(Exception):
    """A strategy does not do what it owes, in a sentence."""


def tiny_scene(cache: Path | None = None) -> Path:
    """The folder of a scene to try strategies on; drawn in two seconds when first asked for."""
    return demo.cached(cache, views=VIEWS, width=WIDTH, height=HEIGHT, samples=2, points=POINTS)


@dataclass
class Record:
    """What happened in a run."""

    fingerprints: list[Fingerprints] = field(default_factory=list)
    """Checksums of all tensors after each step."""
    edits: dict[int, Change] = field(default_factory=dict)
    """Changes of rows by the number of steps done."""
    counts: list[int] = field(default_factory=list)
    """Number of rows after each step."""
    saved: dict[int, Path] = field(default_factory=dict)
    """Checkpoints by the number of steps done."""
    unsound: str = ""
    """The first defect of the rows; empty: none."""
    psnr: tuple[float, float] = (0.0, 0.0)
    """PSNR on the training photos before and after, dB; of the whole run only."""


@dataclass
class Trial:
    """A strategy on trial, and its runs."""

    given: Strategy
    """The strategy as it was given."""
    strategy: Strategy
    """The strategy with its schedule fitted to the runs."""
    steps: int
    job: Job
    kept: Path
    """Folder for checkpoints."""

    gain: float = 0.0
    """Least gain of the picture, dB."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Results of checks that others use, too."""

    @cached_property
    def first(self) -> dict[str, Tensor]:
        """The Gaussians that a run's rows are made from."""
        return start_rows(self.job)

    @cached_property
    def record(self) -> Record:
        """Record of the whole run."""
        run = self.run()
        before = self._psnr(run)
        record = self.followed(run, self.steps)
        record.psnr = (before, self._psnr(run))
        return record

    @cached_property
    def again(self) -> Record:
        """A second run, to the horizon, under other circumstances; saved at two steps.

        Saved amid what is gathered for an edit, and right before one.
        """
        edits = [0, *sorted(self.record.edits)]
        last = edits[: EDITS_SEEN + 2][-1] - 1
        cuts = {sum(edits[1:3]) // 2, last} if len(edits) > 2 else {self.horizon // 2}
        return self.followed(
            self.run(), self.horizon, threads=2, chance=1, saves=frozenset(cuts - {0})
        )

    @property
    def horizon(self) -> int:
        """Steps that show a few edits, or that nothing is edited."""
        edits = sorted(self.record.edits)
        if not edits:
            return min(self.steps, QUIET_STEPS)
        return min(self.steps, edits[: EDITS_SEEN + 1][-1] + 2)

    def run(
        self, strategy: Strategy | None = None, first: Mapping[str, Tensor] | None = None
    ) -> Run:
        """A fresh run, of another strategy or from other rows if given."""
        strategy = self.strategy if strategy is None else strategy
        model = self.model(self.first if first is None else first)
        return replace(
            self.job.run,
            model=model,
            modules=model.networks(),
            strategy=strategy,
            objectives={"photometric": Photometric(), **strategy.objectives()},
            watchers=(),
            step=0,
            ended="",
        )

    @property
    def background(self) -> Tensor | None:
        """Background colour of the run."""
        return self.job.run.background

    def model(self, first: Mapping[str, Tensor]) -> Model:
        """A model of these Gaussians, or of the columns of another one, as runs have it."""
        own = {name: values.clone() for name, values in first.items()}
        run = self.job.run
        sh_every = max(1, self.steps // 4)
        making = Making(self.steps, sh_every=sh_every, views=run.views, frame=run.frame)
        return self.strategy.model(own, making)

    def resumed(self, state: State) -> Run:
        """A run that goes on from a checkpoint."""
        run = self.run(first=rows(state))
        restore(run, state)
        return run

    def followed(
        self,
        run: Run,
        until: int,
        *,
        threads: int = 1,
        chance: int = 0,
        saves: frozenset[int] = frozenset(),
        printed: bool = True,
    ) -> Record:
        """Advance a run and record what it does; Broken where it raises.

        `chance` seeds the generators that everybody shares; `saves` are steps to save after;
        fingerprints are taken if `printed`.
        """
        record = Record()

        def watch(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
            del step, losses
            if change:
                record.edits[run.step] = change
            record.counts.append(len(run.model.cloud))
            if printed:
                record.fingerprints.append(
                    {**fingerprints(run.model.cloud), **_network_prints(run.model)}
                )
            if change and not record.unsound:
                record.unsound = unsound(run.model.cloud, run.step)
            if not len(run.model.cloud):
                raise Broken(record.unsound)
            if run.step in saves:
                record.saved[run.step] = self.kept / f"{len(list(self.kept.iterdir()))}.pt"
                save(run, record.saved[run.step])

        run.watchers = (watch,)
        with _quiet(chance, threads):
            while run.step < until and not run.over:
                try:
                    advance(run)
                except Broken:
                    raise
                except Exception as error:
                    raise Broken(self.blamed(run.step + 1, error)) from error
        return record

    def blamed(self, done: int, error: Exception) -> str:
        """An error in a sentence: at which step, and where in the strategy's own file."""
        file = inspect.getsourcefile(type(self.strategy))
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        text = " ".join(str(error).split())
        return f"step {done} raises {type(error).__name__}: {text}{where}"

    @torch.no_grad()
    def _psnr(self, run: Run) -> float:
        batches = (self.job.photos.batch(index) for index in range(len(self.job.photos)))
        return mean_psnr(run.model, run.render, batches, run.background)


@contextlib.contextmanager
def trial(
    given: Strategy, steps: int, kept: Path, *, fitted: bool = True, folder: Path | None = None
) -> Iterator[Trial]:
    """A strategy on trial, on the scene in a folder or the tiny one."""
    strategy = given.scheduled(steps) if fitted else given
    if fitted and strategy.cap > MOST_ROWS:
        strategy = strategy.limited(MOST_ROWS)
    options = Options(
        steps=steps, threads=2, schedule="published", max_side=0, device="cpu",
        resolution="warm-up",
    )  # fmt: skip
    with one_torch_thread():
        job = prepare(datasets.load(folder or tiny_scene()), strategy, options)
    with contextlib.closing(job):
        yield Trial(given, strategy, steps, job, kept)


def unsound(cloud: Cloud, done: int) -> str:
    """The first defect of the rows after so many steps; empty where they are whole and finite."""
    n = len(cloud)
    if n == 0:
        return f"after step {done} no row is left: a cloud of none can never grow again"
    parts: dict[str, Tensor] = {}
    for name in cloud.names:
        parts[f"column {name}"] = cloud[name].detach()
        parts[f"moments of {name}"] = torch.stack(cloud.moments(name), 1)
    parts |= {f"statistic {name}": cloud.statistic(name) for name in cloud.statistics}
    for label, values in parts.items():
        if len(values) != n:
            return f"after step {done} {label} has {len(values)} rows, the cloud has {n}"
        if not bool(values.isfinite().all()):
            return f"after step {done} {label} has values that are not finite"
    return ""


def fingerprints(cloud: Cloud, statistics: bool = True) -> Fingerprints:
    """A checksum of each column with its moments, and of each statistic."""
    checksums = {}
    for name in cloud.names:
        tensors = (cloud[name].detach(), *cloud.moments(name))
        for label, tensor in zip(("", " (moment)", " (second moment)"), tensors, strict=True):
            checksums[f"column {name}{label}"] = _print(tensor)
    if statistics:
        checksums |= {
            f"statistic {name}": _print(cloud.statistic(name)) for name in cloud.statistics
        }
    return checksums


def _network_prints(model: Model) -> Fingerprints:
    """A fingerprint of each number that is trained beside the rows."""
    return {
        f"network {name} ({label})": _print(values.detach())
        for name, part in model.networks().items()
        for label, values in part.module.named_parameters()
    }


def difference(one: Fingerprints, other: Fingerprints) -> str:
    """Name of the first tensor that differs in any bit; empty: none does."""
    return next((name for name in one if one[name] != other.get(name)), "")


def _print(tensor: Tensor) -> int:
    data: Any = tensor.contiguous().flatten().view(torch.uint8).numpy()
    return zlib.crc32(data, tensor.numel())


@contextlib.contextmanager
def _quiet(chance: int, threads: int) -> Iterator[None]:
    """With so many threads of the kernels, and the shared generators seeded; then as before."""
    before, own = kernels.threads(), random.getstate()
    state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    kernels.set_threads(threads)
    torch.manual_seed(chance)
    np.random.seed(chance)  # noqa: NPY002
    random.seed(chance)
    try:
        with one_torch_thread():
            yield
    finally:
        kernels.set_threads(before)
        torch.set_rng_state(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(own)
