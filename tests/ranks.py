"""What each of several processes does in tests of training together; run as a script by them."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import weakref
import zlib
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from methods import _EARLY, _MCMC, _SCAFFOLD, METHODS
from parts import Asking, Killer
from torch.distributed import TCPStore

from splat import api, datasets
from splat.conformance.trial import fingerprints
from splat.core.chain import Chain
from splat.core.edit import Edit, Nudge
from splat.core.step import Step
from splat.core.strategy import Fixed, Strategy, Wrapper
from splat.evaluation.evaluate import evaluate
from splat.kernels import one_torch_thread
from splat.loop import Run, advance
from splat.options import Options, Watching
from splat.parallel import ALONE, Ranks, current_ranks
from splat.runs import checkpoint
from splat.strategies.adc import Adc
from splat.strategies.budget import Budget
from splat.strategies.crop import Crop
from splat.strategies.deferred import Deferred
from splat.strategies.deform import Deform
from splat.strategies.deform.coded import PlanesCoded
from splat.strategies.freeze import Freeze
from splat.strategies.protect import Protect
from splat.strategies.scaffold.coded import Coded
from splat.strategies.scaffold.gsdf import Gsdf
from splat.strategies.sdf.sdf import Sdf
from splat.training.prepare import Job, prepare

STEPS, STEPS_OF_THREE = 50, 25
"""Of each method: edits, resets and a window's end fall into them; edits alone of three processes,
which compete for the cores of small machines."""
PHOTOS = 60
"""Of the runs that are kept in a folder."""
_ADC = Adc(cap=700, grow_gradient=2e-3, **_EARLY)
_SPHERE = "def distance(points):\n    return points.norm(dim=1) - 0.5\n"
PARTS: dict[str, Strategy] = {
    "budget": Budget(_ADC, rows=400, curve="resolution", grow_from=10, grow_until=50),
    "chain": Chain((_ADC, Asking(), Killer(rows=(3, 5)))),
    "crop": Crop(_MCMC, low=(-0.4, -0.4, -0.4), high=(0.4, 0.4, 0.4)),
    "deferred": Deferred(_ADC, light_rows=16),
    "freeze": Freeze(_MCMC, rows="inside", low=(-0.3,) * 3, high=(0.3,) * 3),
    "protect": Protect(_ADC, rule="age<15 and opacity>0.01"),
    "deform": PlanesCoded(Deform(_ADC, coarse=10, resolution=8, width=16), coded_from=20),
    "coded": Coded(_SCAFFOLD, noise_from=20, pause_until=25, adapt_from=30, entries=6),
    "sdf": Sdf(
        _ADC, box=(-1, -1, -1, 1, 1, 1), learn_from=4, mutual_from=10, prune_from=30,
        prune_every=10, rays=64, resolution=32,
    ),
}  # fmt: skip
stores: list[TCPStore] = []
"""Where processes that were started meet; as with torchrun it outlives them."""
OPTIONS: dict[str, dict[str, Any]] = {
    "sensor": {"refine_poses": True, "exposure": "grid"},
    "visible": {"adam": "visible"},
    "half": {"moments": "bfloat16"},
    "batch": {"batch": 2, "refine_poses": True},
}
"""Of runs by the same method."""


@dataclass(frozen=True)
class Literal(Wrapper):
    """A strategy with its step numbers as they are."""

    undivided = ""

    def scheduled(self, steps: int) -> Strategy:
        return self


@dataclass(frozen=True)
class Local(Fixed):
    """Does what no strategy may: it moves rows by what one process's own photo shows."""

    def refine(self, step: Step) -> Edit | None:
        delta = torch.full_like(step.model.cloud["mean"], float(step.rendered.image.mean()))
        return Edit(nudge=(Nudge("mean", delta),))


def job_of(folder: Path, strategy: Strategy, ranks: Ranks, **more: Any) -> Job:
    """A job on the tiny scene whose run has `STEPS` steps."""
    count = ranks.count
    options = Options(
        steps=STEPS * count, threads=1, schedule="published", max_side=0, device="cpu",
        resolution="full", **more,
    )  # fmt: skip
    return prepare(datasets.load(folder), Literal(strategy), options, ranks=ranks)


def state(run: Run) -> dict[str, int]:
    """Fingerprints of all that a run has learned."""
    networks = {
        f"{name} {what}": zlib.crc32(values.detach().numpy().tobytes())
        for name, part in run.modules.items()
        for what, values in part.module.state_dict().items()
    }
    return {**fingerprints(run.model.cloud), **networks}


def followed(folder: Path, strategy: Strategy, ranks: Ranks, **more: Any) -> dict[str, Any]:
    """How a run ends here, and how many rows it had on the way."""
    job = job_of(folder, strategy, ranks, **more)
    with closing(job):
        counts = {len(job.run.model.cloud)}
        last = STEPS if ranks.count < 3 else STEPS_OF_THREE
        while job.run.step < last and not job.run.over:
            advance(job.run)
            counts.add(len(job.run.model.cloud))
        return {"prints": state(job.run), "counts": sorted(counts)}


def one_step(folder: Path, ranks: Ranks, **more: Any) -> dict[str, float]:
    """What the first step of several makes of gradients and statistics, against one process that
    shows the photos of all: largest differences, as a share of the largest value."""
    together, alone = job_of(folder, _ADC, ranks, **more), job_of(folder, _ADC, ALONE, **more)
    found = _without_optimizer(together.run, [0])
    wanted = _without_optimizer(alone.run, range(ranks.count))
    together.close(), alone.close()
    return {name: _apart(found[name], wanted[name]) for name in wanted}


def _without_optimizer(run: Run, steps: Any) -> dict[str, torch.Tensor]:
    cloud, found = run.model.cloud, {}
    steps = list(steps)

    def note(*_: object) -> None:
        for name in cloud.names:
            gradient = cloud.gradient(name)
            assert gradient is not None
            found[name] = found.get(name, 0) + gradient.detach().clone() / len(steps)
        for part in run.modules.values():
            for name, values in part.module.named_parameters():
                if values.grad is not None:
                    found[name] = found.get(name, 0) + values.grad.clone()
                    values.grad = None
        for column in cloud._columns.values():
            column.clear_gradient()

    run.optimize = note  # type: ignore[method-assign]
    batches = run.batches
    for number in steps:
        run.batches = lambda step, number=number: batches(number)
        run.step = 0
        advance(run)
    return {**found, **{name: cloud.statistic(name).clone() for name in cloud.statistics}}


def _apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))


def measured(folder: Path, ranks: Ranks) -> bool:
    """Whether figures that are measured together are those of one process, to the last digit."""
    job = job_of(folder, Fixed(), ranks)
    with closing(job):
        run = job.run
        shared = evaluate(run.model, run.render, job.own_batches(), lpips=None, ranks=ranks)
        whole = evaluate(run.model, run.render, job.test_batches(), lpips=None)
        return replace(shared, seconds=0.0) == replace(whole, seconds=0.0)


def kept(folder: Path, out: Path, ranks: Ranks) -> None:
    """A run kept in out/whole; out/again goes on from its middle, out/later is to be gone on."""
    options = Options(steps=PHOTOS, max_side=0, threads=1, device="cpu")
    watching = Watching(checkpoint_every=5, keep=100, eval_every=10, pictures=False, quiet=True)
    api.train(
        datasets.load(folder), _ADC, options, out=out / "whole", watching=watching, lpips=None
    )

    def copied() -> None:
        for name in ("again", "later", "alone"):
            shutil.copytree(out / "whole", out / name)
            for path in checkpoint.checkpoints_in(out / name / "checkpoints"):
                if path.name > "step_00000030.pt":
                    path.unlink()
            (out / name / "metrics.json").unlink()

    if ranks.first:
        copied()
    ranks.same(None)
    api.resume(out / "again", lpips=None)


def main(folder: Path, out: Path) -> None:
    """All of it; what is found goes to out/RANK.json, and who is left of the group at the end to
    out/RANK.left."""
    group: list[weakref.ref[Any]] = []
    # Before `current_ranks` registers that the group is left, and so called after it.
    atexit.register(lambda: left.write_text(str(group[0]())))
    ranks = current_ranks()
    assert not ranks.alone
    left = out / f"{ranks.rank}.left"
    group.append(weakref.ref(ranks.talk))
    sphere = out / "sphere.py"
    if ranks.first:
        sphere.write_text(_SPHERE)
    found: dict[str, Any] = {}
    methods = {**METHODS, **PARTS, "gsdf": Gsdf(_SCAFFOLD, sdf=f"{sphere}:distance")}
    # What three add to two is an odd number of them: every third method shows it.
    shown = methods if ranks.count == 2 else dict(list(methods.items())[::3])
    with one_torch_thread():
        found["methods"] = {
            name: followed(folder, strategy, ranks) for name, strategy in shown.items()
        }
        for name, more in OPTIONS.items() if ranks.count == 2 else ():
            found["methods"][name] = followed(folder, _ADC, ranks, **more)
        own = {"refine_poses": True, "exposure": "affine"}
        found["step"] = {"plain": one_step(folder, ranks), "sensor": one_step(folder, ranks, **own)}
        found["measured"] = measured(folder, ranks)
    if ranks.count == 2:
        kept(folder, out, ranks)
        try:
            followed(folder, Local(), ranks)
        except ValueError as error:
            found["local"] = str(error)
    else:
        api.resume(out / "later", lpips=None)
    (out / f"{ranks.rank}.json").write_text(json.dumps(found))


def started(count: int, command: list[str], **more: Any) -> list[subprocess.Popen[str]]:
    """So many processes that know of each other as torchrun would have it."""
    stores.append(TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False))
    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(stores[-1].port)}
    here |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    here |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    return [
        subprocess.Popen(
            [sys.executable, *command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **here, "RANK": str(rank), "LOCAL_RANK": str(rank)}, **more,
        )
        for rank in range(count)
    ]  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
