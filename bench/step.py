"""Time one training step on the CPU: render, loss, backward, Adam, through the public interface."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

import torch
from timing import Clock, Savings, run_of, state_bytes, summed_up
from torch import Tensor
from workload import COUNT, SIZES, Size, key_of, rows, size_of, targets

from splat import kernels

WARM_UP = 4


def measured(
    size: Size, columns: Mapping[str, Tensor], target: Tensor, repeats: int, savings: Savings
) -> dict[str, Any]:
    """One picture size: times in milliseconds, memory in bytes a Gaussian."""
    run = run_of(size, columns, target, savings)
    clock = Clock(run)
    found = summed_up(clock.steps(repeats, WARM_UP), clock.loss)
    return {
        **found,
        "state_bytes_per_gaussian": state_bytes(run),
        "scratch_bytes_per_gaussian": kernels.scratch_bytes() / len(run.model.cloud),
    }


def said(name: str, found: Mapping[str, Any]) -> str:
    """The figures of one size for people."""
    stages = ", ".join(f"{stage} {ms:.2f}" for stage, ms in found["stages"].items() if ms)
    return (
        f"{name}: {found['iteration_ms']:.2f} ms a step"
        f" (forward {found['forward_ms']:.2f}, best {found['best_ms']:.2f}, processor"
        f" {found['cpu_ms']:.2f}; {stages}); loss {found['loss']:.6f}; bytes a Gaussian:"
        f" state {found['state_bytes_per_gaussian']:.0f},"
        f" scratch {found['scratch_bytes_per_gaussian']:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch-threads", type=int, default=1, help="threads of torch's own pool")
    parser.add_argument("--isa", choices=kernels.isas(), default=kernels.isa())
    parser.add_argument("--repeats", type=int, default=24, help="steps timed, beyond the warm-up")
    parser.add_argument("--count", type=int, default=COUNT, help="Gaussians")
    parser.add_argument("--size", type=size_of, nargs="+", default=SIZES, metavar="WxH")
    parser.add_argument("--seed", type=int, default=0, help="of the Gaussians")
    parser.add_argument("--adam", choices=("all", "visible"), default="all")
    parser.add_argument("--moments", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    kernels.set_threads(options.threads)
    torch.set_num_threads(options.torch_threads)
    savings = Savings(options.adam == "visible", getattr(torch, options.moments))
    columns, pictures = rows(options.count, options.seed), targets(options.size)
    with kernels.use_isa(options.isa):
        sizes = {
            key_of(size): measured(size, columns, pictures[size], options.repeats, savings)
            for size in options.size
        }
    if options.json:
        heading = {"threads": options.threads, "isa": options.isa, "gaussians": options.count}
        print(json.dumps(heading | sizes))
        return
    print(f"{options.count} Gaussians, {options.isa}, {options.threads} threads")
    for name, found in sizes.items():
        print(said(name, found))


if __name__ == "__main__":
    main()
