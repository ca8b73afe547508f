"""What a step of anchors costs against one of as many Gaussians that are rows themselves.

    python bench/anchor_step.py [SCENE] [--downscale 2] [--warm 1500] [--rounds 8]

Both runs are trained a little, `mcmc` with as many Gaussians as the anchors draw in a view; then
they take turns of a second with steps of equal work (learning rates of 0), at full size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from splat import api, kernels
from splat.core.strategy import Strategy
from splat.datasets import demo
from splat.kernels import one_torch_thread
from splat.loop import advance
from splat.options import Options
from splat.strategies.mcmc import Mcmc
from splat.strategies.scaffold import Scaffold
from splat.training.finish import gaussian_counts
from splat.training.prepare import Job, prepare
from splat.training.session import no_old_garbage


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", nargs="?", type=Path)
    parser.add_argument("--downscale", type=float, default=1.0)
    parser.add_argument("--warm", type=int, default=1500, help="steps of training before")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measured(asked.scene or demo.cached(width=400, height=300), asked)
    print(json.dumps(found, indent=1) if asked.json else _said(found))


def measured(scene: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a step of each, their ratio, and where those of anchors go."""
    with one_torch_thread(), no_old_garbage(), ExitStack() as stack:
        anchors = stack.enter_context(closing(_warm(scene, Scaffold(), asked)))
        known = gaussian_counts(anchors)
        rows = stack.enter_context(closing(_warm(scene, Mcmc(cap=known["gaussians"]), asked)))
        first, second = [], []
        stages: dict[str, float] = {}
        before, steps = kernels.stage_seconds(), 0
        for _ in range(asked.rounds):
            before = kernels.stage_seconds()
            count, seconds = _turn(anchors, asked.seconds)
            after = kernels.stage_seconds()
            stages = {name: stages.get(name, 0) + after[name] - before[name] for name in after}
            steps += count
            first.append(1e3 * seconds / count)
            count, seconds = _turn(rows, asked.seconds)
            second.append(1e3 * seconds / count)
        return {
            **known,
            "explicit": len(rows.run.model.cloud),
            "anchors_ms": statistics.median(first),
            "explicit_ms": statistics.median(second),
            "ratio": statistics.median(a / b for a, b in zip(first, second, strict=True)),
            "stages_ms": {name: 1e3 * value / steps for name, value in stages.items()},
        }


def _warm(scene: Path, strategy: Strategy, asked: argparse.Namespace) -> Job:
    options = Options(
        steps=asked.warm, resolution="full", downscale=asked.downscale, max_side=0, device="cpu"
    )
    job = prepare(api.load(scene), strategy, options)
    while not job.run.over:
        advance(job.run)
    job.run.model.cloud.rate_scale = 0.0
    return job


def _turn(job: Job, seconds: float) -> tuple[int, float]:
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        advance(job.run)
        count += 1
    return count, time.perf_counter() - start


def _said(found: dict[str, Any]) -> str:
    stages = ", ".join(f"{name} {ms:.2f}" for name, ms in found["stages_ms"].items() if ms > 0.005)
    lines = (
        f"{found['anchors']:,} anchors, which draw {found['gaussians']:,}:"
        f" {found['anchors_ms']:.2f} ms a step",
        f"{found['explicit']:,} Gaussians: {found['explicit_ms']:.2f} ms a step",
        f"ratio {found['ratio']:.2f}",
        f"kernels of anchors' steps, ms: {stages}",
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
