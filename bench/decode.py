"""Time the decoding of anchors, forward and backward: the CPU kernel, and the same in torch."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from splat import kernels
from splat.kernels.decode import Decoded, Heads, by_torch, decode

WARM_UP = 5


class Work:
    """Anchors of the usual sizes, of whose slots about a half make a Gaussian."""

    def __init__(self, count: int, features: int, slots: int, hidden: int) -> None:
        self._draw = torch.Generator().manual_seed(0)
        self._positions, self._centre = self._normal(count, 3), self._normal(3)
        self._rows = torch.arange(count)
        self.learned = [
            self._normal(count, features), 0.3 * self._normal(count, 6),
            self._normal(count, slots, 3),
        ]  # fmt: skip
        for outputs in (slots, 3 * slots, 7 * slots):
            self.learned += [
                0.15 * self._normal(features + 5, hidden), 0.15 * self._normal(hidden + 1, outputs)
            ]  # fmt: skip
        for tensor in self.learned:
            tensor.requires_grad_()
        self.drawn = 0

    def step(self, run: Callable[..., Decoded]) -> float:
        """Milliseconds of a forward and a backward pass."""
        features, reach, offsets, *w = self.learned
        heads = Heads((w[0], w[1]), (w[2], w[3]), (w[4], w[5]))
        start = time.perf_counter()
        made = run(self._positions, features, reach, offsets, heads, self._rows, self._centre)
        half = time.perf_counter()
        parts = [made.means, made.quats, made.scales, made.opacities, made.colors]
        with torch.no_grad():
            given = [torch.ones_like(part) for part in parts]
        again = time.perf_counter()
        torch.autograd.grad(parts, self.learned, given)
        self.drawn = len(made.source)
        return 1e3 * (half - start + time.perf_counter() - again)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._draw)


def best(work: Work, run: Callable[..., Decoded], repeats: int) -> float:
    return min(work.step(run) for _ in range(WARM_UP + repeats))


def measured(work: Work, threads: int, repeats: int) -> dict[str, float]:
    """Milliseconds by instruction set, and of torch with as many threads of its own."""
    kernels.set_threads(threads)
    found = {}
    with kernels.one_torch_thread():
        for isa in kernels.isas():
            with kernels.use_isa(isa):
                found[isa] = best(work, decode, repeats)
    torch.set_num_threads(threads)
    return found | {"torch": best(work, by_torch, repeats)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="anchors")
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--slots", type=int, default=10, help="offsets of an anchor")
    parser.add_argument("--hidden", type=int, default=32, help="hidden units of a network")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=60, help="passes timed; the best counts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    work = Work(options.count, options.features, options.slots, options.hidden)
    found: dict[str, Any] = {
        str(threads): measured(work, threads, options.repeats) for threads in options.threads
    }
    if options.json:
        print(json.dumps({"anchors": options.count, "gaussians": work.drawn, "ms": found}))
        return
    print(f"{options.count} anchors, {work.drawn} Gaussians, forward and backward")
    for threads, times in found.items():
        told = ", ".join(f"{name} {ms:.2f} ms" for name, ms in times.items())
        print(f"{threads} threads: {told}")


if __name__ == "__main__":
    main()
