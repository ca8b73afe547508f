"""Time a field, forward and backward: the CPU kernel, and the same in torch.

    python bench/field.py --deformation --count 10000

Planes and lines, which surfaces are made of, or with `--deformation` what `deform` moves Gaussians
by.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from splat import kernels
from splat.core.frame import morton_order
from splat.kernels import field as planes_and_lines
from splat.kernels import hexplane as deformation
from splat.strategies.deform import Deform
from splat.strategies.deform.field import DeformationField, Sizes

WARM_UP = 5


class Lines:
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

    def kernel(self) -> Any:
        planes, lines, first, second = self.learned
        return planes_and_lines.field(self.points, planes, lines, first, second, 100.0)

    def by_torch(self) -> Any:
        planes, lines, first, second = self.learned
        return planes_and_lines.by_torch(self.points, planes, lines, first, second, 100.0)

    def values(self) -> Any:
        """Values without derivatives."""
        planes, lines, first, second = self.learned
        return planes_and_lines.value(self.points, planes, lines, first, second, 100.0)


class Deformation:
    """Points all over a sphere, in the order of a curve through space, as rows of a cloud are; the
    field is as large as `deform` has it."""

    values = None

    def __init__(self, count: int) -> None:
        draw = torch.Generator().manual_seed(0)
        box = torch.tensor([[-1.0] * 3, [1.0] * 3])
        of = Deform()
        sides = tuple(of.resolution * 2**scale for scale in range(of.scales))
        self.net = DeformationField(box, Sizes(sides, 12, of.channels, of.width), draw)
        self.net.last.data.normal_(generator=draw)
        points = 0.7 * functional.normalize(torch.randn(count, 3, generator=draw), dim=1)
        self.points = points[morton_order(points)]
        self.learned = list(self.net.parameters())
        self.given = torch.randn(count, sum(self.net.outputs), generator=draw)

    def kernel(self) -> Any:
        return self._found(deformation.hexplane)

    def by_torch(self) -> Any:
        return self._found(deformation.by_torch)

    def _found(self, run: Callable[..., Any]) -> Any:
        net = self.net
        layers = net.trunk, net.hidden, net.last, net.outputs
        return run(self.points, 0.3, list(net.space), list(net.times), *layers)


def best(work: Lines | Deformation, run: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Milliseconds of a forward pass, and of that and a backward pass."""
    steps = []
    for _ in range(WARM_UP + repeats):
        start = time.perf_counter()
        made = run()
        half = time.perf_counter()
        torch.autograd.grad(made, work.learned, work.given)
        steps.append((half - start, time.perf_counter() - start))
    return {"forward": 1e3 * min(s[0] for s in steps), "both": 1e3 * min(s[1] for s in steps)}


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measured(work: Lines | Deformation, threads: int, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds by instruction set, and of torch with as many threads of its own."""
    kernels.set_threads(threads)
    found = {}
    with kernels.one_torch_thread():
        for isa in kernels.isas():
            with kernels.use_isa(isa):
                found[isa] = best(work, work.kernel, repeats)
                if work.values is not None:
                    alone = min(seconds(work.values) for _ in range(WARM_UP + repeats))
                    found[isa]["values"] = 1e3 * alone
    torch.set_num_threads(threads)
    return found | {"torch": best(work, work.by_torch, max(1, repeats // 10))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deformation", action="store_true", help="the field of `deform`")
    parser.add_argument("--count", type=int, default=24_000, help="points")
    parser.add_argument("--side", type=int, default=128, help="control points along an axis")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=64, help="hidden units of the network")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=60, help="passes timed; the best counts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    sizes = options.side, options.channels, options.hidden
    lines = None if options.deformation else Lines(options.count, *sizes)
    work = lines or Deformation(options.count)
    found = {str(threads): measured(work, threads, options.repeats) for threads in options.threads}
    if options.json:
        print(json.dumps({"points": options.count, "ms": found}))
        return
    told = ", R {}, C {}, H {}".format(*sizes) if lines else ", the field of deform"
    print(f"{options.count} points{told}")
    for threads, times in found.items():
        for name, ms in times.items():
            told = ", ".join(f"{part} {each:.2f} ms" for part, each in ms.items())
            print(f"{threads} threads, {name}: {told}")


if __name__ == "__main__":
    main()
