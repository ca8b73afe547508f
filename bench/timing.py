"""Steps of the public loop under a clock: wall, processor and the kernels' own stages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor
from workload import Size, camera

from splat import kernels
from splat.core.edit import Change
from splat.core.model import Explicit
from splat.core.objective import Photometric
from splat.core.rates import Rates
from splat.core.step import Step
from splat.core.strategy import Fixed
from splat.loop import Run, train
from splat.render import renderer_for
from splat.training.session import no_old_garbage
from splat.types import Batch, Rendered

STILL = Rates(mean=0, mean_end=0, log_scale=0, quat=0, opacity_logit=0, sh=0)


@dataclass(frozen=True)
class Savings:
    """What a step may save, as options of `splat train`; as they are: nothing."""

    visible_only: bool = False
    """Adam moves the rows in sight alone."""
    moments: torch.dtype = torch.float32
    """Of Adam."""


def run_of(
    size: Size,
    columns: Mapping[str, Tensor],
    target: Tensor,
    savings: Savings = Savings(),
) -> Run:
    """A run whose every step is the same step: Adam works in full, at learning rate 0."""
    batch = Batch(camera(*size), target)
    # A fall of the means' rate cannot start from 0, so it falls over no steps at all.
    model = Explicit(columns, steps=0, sh_every=0, rates=STILL, moments=savings.moments)
    return Run(
        model=model,
        strategy=Fixed(),
        objectives={"photometric": Photometric()},
        render=renderer_for("cpu"),
        batches=lambda step: batch,
        views=[batch.camera],
        photos=lambda index, step: batch,
        steps=0,
        visible_only=savings.visible_only,
    )


@dataclass
class Tick:
    """The state of the clocks between two steps."""

    ended: float
    """Milliseconds: the step before it was done."""
    processor: float
    """Milliseconds of processor time, all threads together."""
    stages: dict[str, float]
    """Seconds that the kernels have spent on each stage."""
    began: float = 0.0
    """Milliseconds: the clocks were read, and the next step begins."""


@dataclass
class Clock:
    """Times the steps of a run: a watcher, and a look at where the forward pass begins and ends."""

    run: Run
    ticks: list[Tick] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    """Milliseconds from the batch to the picture, each step."""
    loss: float = 0.0

    def __post_init__(self) -> None:
        self._batches, self._render = self.run.batches, self.run.render
        self.device = self._render.device
        self.run.batches = self.batch
        self.run.render = self  # type: ignore[assignment]  # draws, and is asked nothing else
        self.run.watchers = [self.tick]

    def batch(self, step: int) -> Batch:
        """The batch; here the forward pass begins."""
        found = self._batches(step)
        self._began = time.perf_counter() - self._waited()
        return found

    def __call__(self, *arguments: Any, **named: Any) -> Rendered:
        """Draw; here the forward pass ends. Nothing is kept, or the next step needs new scratch."""
        rendered: Rendered = self._render(*arguments, **named)
        self.forward.append((time.perf_counter() - self._waited() - self._began) * 1e3)
        return rendered

    def _waited(self) -> float:
        """Seconds that Adam has taken: some of it falls into the next forward pass."""
        return kernels.stage_seconds()["adam"]

    def tick(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        """A step is done."""
        del run, step, change
        now = Tick(time.perf_counter() * 1e3, time.process_time() * 1e3, kernels.stage_seconds())
        self.ticks.append(now)
        self.loss = float(losses["photometric"].detach())
        now.began = time.perf_counter() * 1e3

    def steps(self, count: int, warm_up: int) -> list[dict[str, Any]]:
        """Advance the run; what each of `count` steps took, after some that are not counted."""
        self.ticks, self.forward = [], []
        # The first step has no beginning that was noted, so that one more is made.
        self.run.steps = self.run.step + 1 + warm_up + count
        with no_old_garbage():
            train(self.run)
        spans = zip(pairwise(self.ticks), self.forward[1:], strict=True)
        return [span(a, b, forward) for (a, b), forward in spans][warm_up:]


def span(start: Tick, end: Tick, forward: float) -> dict[str, Any]:
    """One step: milliseconds; stages of the kernels, and `outside`, all that is none of them."""
    stages = {name: (end.stages[name] - start.stages[name]) * 1e3 for name in end.stages}
    wall = end.ended - start.began
    return {
        "wall": wall,
        "forward": forward,
        "processor": end.processor - start.processor,
        "stages": stages | {"outside": wall - sum(stages.values())},
    }


def summed_up(spans: list[dict[str, Any]], loss: float) -> dict[str, Any]:
    """Medians over steps, milliseconds, under the keys that `step.py` prints."""
    walls = [found["wall"] for found in spans]
    names = spans[0]["stages"]
    return {
        "iteration_ms": median(walls),
        "forward_ms": median(found["forward"] for found in spans),
        "loss": loss,
        "best_ms": min(walls),
        # The clock of processor time may be coarse, so that single steps mean nothing.
        "cpu_ms": sum(found["processor"] for found in spans) / len(spans),
        "stages": {name: median(found["stages"][name] for found in spans) for name in names},
    }


def state_bytes(run: Run) -> float:
    """Bytes a row of parameters, gradients, Adam's moments and statistics."""
    cloud = run.model.cloud
    held = [cloud.statistic(name) for name in cloud.statistics]
    for name in cloud.names:
        held += [cloud[name], *cloud.moments(name)]
        # The gradient exists between backward and Adam, as large as its column, or as factors.
        if not isinstance(cloud[name], kernels.Harmonics):
            held.append(cloud[name])
    factors = sum(24 for name in cloud.names if isinstance(cloud[name], kernels.Harmonics))
    return sum(tensor.nbytes for tensor in held) / len(cloud) + factors
