"""Time one training step on the CPU: render, loss, backward, Adam, through the public interface."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor
from workload import COUNT, SIZES, camera, rows, targets

from splat import kernels
from splat.edit import Change
from splat.model import Explicit, Rates
from splat.objective import Photometric
from splat.render import renderer_for
from splat.run import Run, train
from splat.strategy import Fixed
from splat.types import Batch, Step

WARM_UP = 4
STAGES = ("activate", "render", "loss", "backward", "adam")
STILL = Rates(mean=0, mean_end=0, log_scale=0, quat=0, opacity_logit=0, sh=0)


@dataclass
class Clock:
    """A watcher that notes when each step of `train` ends."""

    walls: list[float] = field(default_factory=list)
    """Milliseconds."""
    processor: list[float] = field(default_factory=list)
    """Milliseconds of processor time, all threads together."""
    loss: float = 0.0

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        del run, step, change
        self.walls.append(time.perf_counter() * 1e3)
        self.processor.append(time.process_time() * 1e3)
        self.loss = float(losses["photometric"].detach())


def run_of(batch: Batch, columns: Mapping[str, Tensor], steps: int) -> Run:
    """A run whose every step is the same step: Adam works in full, at learning rate 0."""
    # A fall of the means' rate cannot start from 0, so it falls over no steps at all.
    model = Explicit(columns, steps=0, sh_every=0, rates=STILL)
    return Run(
        model=model,
        strategy=Fixed(),
        objectives={"photometric": Photometric()},
        render=renderer_for("cpu"),
        batches=lambda step: batch,
        views=[batch.camera],
        steps=steps,
    )


def stages_of(run: Run, repeats: int) -> dict[str, float]:
    """Medians of the parts of a step, milliseconds."""
    passes = [staged(run, number) for number in range(WARM_UP + repeats)][WARM_UP:]
    columns = zip(*passes, strict=True)
    return {name: median(times) for name, times in zip(STAGES, columns, strict=True)}


def staged(run: Run, number: int) -> list[float]:
    """Milliseconds of the parts of one step: `advance` with clocks in it."""
    batch = run.batches(number)
    ticks = [time.perf_counter()]
    gaussians = run.model(batch.camera)
    ticks.append(time.perf_counter())
    rendered = run.render(gaussians, batch.camera, run.needs, run.background)
    ticks.append(time.perf_counter())
    step = Step(
        number, run.model, batch, rendered, run.views, run.render, run.generator, run.extent
    )
    loss = run.objectives["photometric"](step)
    ticks.append(time.perf_counter())
    torch.autograd.backward(loss)
    ticks.append(time.perf_counter())
    run.optimize()
    ticks.append(time.perf_counter())
    return [(end - start) * 1e3 for start, end in pairwise(ticks)]


def state_bytes(run: Run) -> float:
    """Bytes a row of parameters, gradients, Adam's moments and statistics."""
    cloud = run.model.cloud
    held = [cloud.statistic(name) for name in cloud.statistics]
    for name in cloud.names:
        # The gradient exists between backward and Adam, as large as its column.
        held += [cloud[name], cloud[name], *cloud.moments(name)]
    return sum(tensor.nbytes for tensor in held) / len(cloud)


def measured(size: int, columns: Mapping[str, Tensor], pixels: Tensor, repeats: int) -> Any:
    """One picture size: times in milliseconds, memory in bytes a Gaussian."""
    run = run_of(Batch(camera(size), pixels), columns, WARM_UP + repeats + 1)
    clock = Clock()
    run.watchers = [clock]
    train(run)
    times = [b - a for a, b in pairwise(clock.walls)][WARM_UP:]
    stages = stages_of(run, repeats)
    return {
        "iteration_ms": median(times),
        "forward_ms": stages["activate"] + stages["render"],
        "loss": clock.loss,
        "best_ms": min(times),
        "cpu_ms": (clock.processor[-1] - clock.processor[WARM_UP]) / repeats,
        "stages": stages,
        "state_bytes_per_gaussian": state_bytes(run),
        "scratch_bytes_per_gaussian": kernels.scratch_bytes() / COUNT,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch-threads", type=int, default=1, help="threads of torch's own pool")
    parser.add_argument("--isa", choices=kernels.isas(), default=kernels.isa())
    parser.add_argument("--repeats", type=int, default=24, help="steps timed, beyond the warm-up")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    kernels.set_threads(options.threads)
    torch.set_num_threads(options.torch_threads)
    columns, pictures = rows(), targets()
    with kernels.use_isa(options.isa):
        sizes = {s: measured(s, columns, pictures[s], options.repeats) for s in SIZES}
    if options.json:
        heading = {"threads": options.threads, "isa": options.isa, "gaussians": COUNT}
        print(json.dumps(heading | {str(size): found for size, found in sizes.items()}))
        return
    print(f"{COUNT} Gaussians, {options.isa}, {options.threads} threads")
    for size, found in sizes.items():
        stages = ", ".join(f"{name} {ms:.2f}" for name, ms in found["stages"].items())
        print(
            f"{size} x {size}: {found['iteration_ms']:.2f} ms a step"
            f" (best {found['best_ms']:.2f}, processor {found['cpu_ms']:.2f}; {stages});"
            f" loss {found['loss']:.6f}; bytes a Gaussian:"
            f" state {found['state_bytes_per_gaussian']:.0f},"
            f" scratch {found['scratch_bytes_per_gaussian']:.0f}"
        )


if __name__ == "__main__":
    main()
