"""The two small networks that read the nodes above a leaf: its shape, and its colour."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from splat.core.column import EPSILON, Rate
from splat.core.model import TrainedModule
from splat.kernels.harmonics import basis

DEGREE = 2
"""Of the harmonics in which a colour depends on the direction."""
SHAPE, LOOK = 7, 3 * (DEGREE + 1) ** 2
"""Numbers that they say: three log sizes and four of a quaternion; three of each harmonic."""
SAID, PADDED = SHAPE + LOOK, 40
"""All of them, and the columns that products are padded to."""
TOLD = SHAPE + 3
"""What is told of them in a direction: of a look the colour."""
BLOCK = 1024
"""Mids that are asked for at a time: what is hidden of them stays in the cache of a core."""
QUIET = 0.1
"""Factor on the last layers at first, so that a run begins near what it is started from."""
RATE = 4e-3
"""Learning rate at the start; at the end of a run it is a fiftieth."""


class Networks(nn.Module):
    """Weights of two networks of two layers, biases the last rows.

    `shape_in` [mid + root + 1, hidden], `shape_out` [hidden + 1, 7]; `look_in` as `shape_in`,
    `look_out` [hidden + 1, 27]: three numbers for each harmonic of the direction that a node is
    seen in, the first of them constant.
    """

    def __init__(self, features: int, hidden: int, generator: torch.Generator) -> None:
        """`features` are those of a mid and its root together."""
        super().__init__()

        def layer(reads: int, gives: int, factor: float = 1.0) -> nn.Parameter:
            bound = factor / math.sqrt(reads)
            weights = (2 * torch.rand(reads + 1, gives, generator=generator) - 1) * bound
            if factor != 1:
                weights[-1] = 0  # features are 0 at first: without biases nothing would be awake
            return nn.Parameter(weights)

        self.shape_in, self.shape_out = layer(features, hidden), layer(hidden, SHAPE, QUIET)
        self.look_in, self.look_out = layer(features, hidden), layer(hidden, LOOK, QUIET)

    def told(
        self,
        mid: Float[Tensor, "m f"],
        rgb: Float[Tensor, "m 3"],
        root: Float[Tensor, "r g"],
        root_of: Int[Tensor, "m"],
        directions: Float[Tensor, "m 3"],
    ) -> Float[Tensor, "m 10"]:
        """Of each mid log sizes (3), a quaternion's difference from no turn (4), and its colour,
        before the logistic function, as it is seen in a direction, a vector of length 1 from the
        camera: `rgb` and what is added to that. `mid` and `root` are features."""
        weights = (self.shape_in, self.shape_out, self.look_in, self.look_out)
        turned = basis(directions, DEGREE)
        turned[:, 0] = 1
        found: Tensor = _Told.apply(mid, rgb, root, root_of, turned, *weights)  # type: ignore[no-untyped-call]
        return found

    def trained(self, steps: int) -> TrainedModule:
        """With an optimizer for a run of so many steps."""
        rate = Rate(RATE, RATE / 50, steps)
        optimizer = torch.optim.Adam(self.parameters(), lr=RATE, eps=EPSILON, foreach=True)
        return TrainedModule(self, optimizer, [rate])


class _Told(torch.autograd.Function):
    """Both networks as one of twice the width. Most of it is memory and not arithmetic: what is
    read of a root is multiplied once for all its mids, what is hidden is made a block of mids at a
    time, and anew for the gradients; products are laid out as libraries are quick at, with the long
    side last or padded to `PADDED` columns."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        mid: Tensor,
        rgb: Tensor,
        root: Tensor,
        root_of: Tensor,
        turned: Tensor,
        shape_in: Tensor,
        shape_out: Tensor,
        look_in: Tensor,
        look_out: Tensor,
    ) -> Tensor:
        f, wide = mid.shape[1], shape_in.shape[1]
        first = torch.cat([shape_in, look_in], 1)
        base = torch.addmm(first[-1], root, first[f:-1])
        second = look_out.new_zeros(2 * wide + 1, PADDED)
        second[:wide, :SHAPE], second[-1, :SHAPE] = shape_out[:-1], shape_out[-1]
        second[wide:-1, SHAPE:SAID], second[-1, SHAPE:SAID] = look_out[:-1], look_out[-1]
        told = mid.new_empty(len(mid), TOLD)
        for part in _blocks(len(mid)):
            hidden = _hidden(base, root_of[part], mid[part], first[:f])
            said = torch.addmm(second[-1], hidden, second[:-1])
            told[part, :SHAPE] = said[:, :SHAPE]
            look = said[:, SHAPE:SAID].reshape(len(said), -1, 3)
            told[part, SHAPE:] = (look * turned[part, :, None]).sum(1)
        told[:, SHAPE:] += rgb
        ctx.save_for_backward(root, root_of, mid, turned, first, base, second)
        return told

    @staticmethod
    def backward(ctx: FunctionCtx, told: Tensor) -> tuple[Tensor | None, ...]:
        saved: tuple[Tensor, ...] = ctx.saved_tensors  # type: ignore[attr-defined]
        root, root_of, read, turned, first, base, second = saved
        f, wide = read.shape[1], base.shape[1] // 2
        above, outer = torch.zeros_like(base), told.new_zeros(SAID, 2 * wide)
        over, mid = torch.zeros_like(first[:f]), torch.empty_like(read)
        padded, total = first.new_zeros(2 * wide, max(f, PADDED)), told.new_zeros(1, SAID)
        padded[:, :f] = first[:f].T
        for part in _blocks(len(read)):
            hidden = _hidden(base, root_of[part], read[part], first[:f])
            look = turned[part, :, None] * told[part, None, SHAPE:]
            said = torch.cat([told[part, :SHAPE], look.flatten(1)], 1)
            inner = said @ second[:-1, :SAID].T
            inner = torch.ops.aten.threshold_backward(inner, hidden, 0.0)
            above.index_add_(0, root_of[part], inner)
            outer += said.T @ hidden
            total += said.sum(0, keepdim=True)
            over += read[part].T @ inner
            mid[part] = (inner @ padded)[:, :f]
        inner = torch.cat([over, root.T @ above, above.sum(0, keepdim=True)])
        shape_out = torch.cat([outer[:SHAPE, :wide].T, total[:, :SHAPE]])
        look_out = torch.cat([outer[SHAPE:, wide:].T, total[:, SHAPE:]])
        rgb, root = told[:, SHAPE:].contiguous(), above @ first[f:-1].T
        return mid, rgb, root, None, None, inner[:, :wide], shape_out, inner[:, wide:], look_out


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


def _hidden(base: Tensor, root_of: Tensor, read: Tensor, weights: Tensor) -> Tensor:
    return base.index_select(0, root_of).addmm_(read, weights).relu_()


def hung(
    told: Float[Tensor, "m 10"],
    mid_of: Int[Tensor, "n"],
    size: Float[Tensor, "n 1"],
    light: Float[Tensor, "n"],
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"], Float[Tensor, "n 3"]]:
    """Scales, quaternions of any length and colours of leaves, of what is told of their mids and
    what they have of their own."""
    scales, quats, colors = _Hung.apply(told, mid_of, size, light)  # type: ignore[no-untyped-call]
    return scales, quats, colors


class _Hung(torch.autograd.Function):
    """`hung`, whose gradients are gathered for each mid in one go."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, told: Tensor, mid_of: Tensor, size: Tensor, light: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = told.index_select(0, mid_of)
        scales = (rows[:, :3] + size).exp_()
        colors = (rows[:, SHAPE:] + light[:, None]).sigmoid_()
        quats = rows[:, 3:SHAPE] + rows.new_tensor([1.0, 0.0, 0.0, 0.0])
        ctx.save_for_backward(scales, colors, mid_of)
        ctx.mids = len(told)  # type: ignore[attr-defined]
        return scales, quats, colors

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scales, colors, mid_of = ctx.saved_tensors  # type: ignore[attr-defined]
        of_scales, of_quats, of_colors = gradients
        rows = scales.new_empty(len(scales), TOLD)
        torch.mul(of_scales, scales, out=rows[:, :3])
        rows[:, 3:SHAPE] = of_quats
        rows[:, SHAPE:] = torch.ops.aten.sigmoid_backward(of_colors, colors)
        told = rows.new_zeros(ctx.mids, TOLD).index_add_(0, mid_of, rows)  # type: ignore[attr-defined]
        return told, None, rows[:, :3].sum(1, keepdim=True), rows[:, SHAPE:].sum(1)
