"""Time a field of planes and lines, forward and backward: the CPU kernel, and the same in torch."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from splat import kernels
from splat.kernels.field import by_torch, field, value

WARM_UP = 5


class Work:
    """Points all over the field, which is the worst that they can do to the caches."""

    def __init__(self, count: int, side: int, channels: int, hidden: int) -> None:
        draw = torch.Generator().manual_seed(0)

        def normal(*shape: int, scale: float) -> Tensor:
            return (scale * torch.randn(*shape, generator=draw)).requires_grad_()

        self.points = 2 * torch.rand(count, 3, generator=draw) - 1
        self.learned = [
            normal(3, side, side, channels, scale=0.1), normal(3, side, channels, scale=0.5),
            normal(3 * channels + 4, hidden, scale=0.2), normal(hidden + 1, scale=0.1),
        ]  # fmt: skip
        self.given = [torch.ones(count), torch.ones(count, 3)]

    def step(self, run: Callable[..., Any]) -> tuple[float, float]:
        """Milliseconds of a forward pass, and of that and a backward pass."""
        start = time.perf_counter()
        made = run(self.points, *self.learned, 100.0)
        half = time.perf_counter()
        torch.autograd.grad(made, self.learned, self.given)
        return 1e3 * (half - start), 1e3 * (time.perf_counter() - start)

    def alone(self) -> float:
        """Milliseconds of the values alone."""
        planes, lines, first, second = self.learned
        start = time.perf_counter()
        value(self.points, planes, lines, first, second, 100.0)
        return 1e3 * (time.perf_counter() - start)


def best(work: Work, run: Callable[..., Any], repeats: int) -> dict[str, float]:
    steps = [work.step(run) for _ in range(WARM_UP + repeats)]
    return {"forward": min(s[0] for s in steps), "both": min(s[1] for s in steps)}


def measured(work: Work, threads: int, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds by instruction set, and of torch with as many threads of its own."""
    kernels.set_threads(threads)
    found = {}
    with kernels.one_torch_thread():
        for isa in kernels.isas():
            with kernels.use_isa(isa):
                found[isa] = best(work, field, repeats)
                found[isa]["values"] = min(work.alone() for _ in range(WARM_UP + repeats))
    torch.set_num_threads(threads)
    return found | {"torch": best(work, by_torch, max(1, repeats // 10))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24_000, help="points")
    parser.add_argument("--side", type=int, default=128, help="control points along an axis")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=64, help="hidden units of the network")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=60, help="passes timed; the best counts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    work = Work(options.count, options.side, options.channels, options.hidden)
    found = {str(threads): measured(work, threads, options.repeats) for threads in options.threads}
    if options.json:
        print(json.dumps({"points": options.count, "ms": found}))
        return
    print(f"{options.count} points, R {options.side}, C {options.channels}, H {options.hidden}")
    for threads, times in found.items():
        for name, ms in times.items():
            told = ", ".join(f"{part} {each:.2f} ms" for part, each in ms.items())
            print(f"{threads} threads, {name}: {told}")


if __name__ == "__main__":
    main()
