"""The two small networks that read the nodes above a leaf: its shape, and its colour."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from splat.core.column import EPSILON, Rate
from splat.core.model import TrainedModule

SHAPE, LOOK = 7, 3
"""Numbers that they tell: three log sizes and four of a quaternion; three of a colour."""
TOLD, PADDED = SHAPE + LOOK, 16
"""All of them, and the columns that products are padded to."""
QUIET = 0.1
"""Factor on the last layers at first, so that a run begins near what it is started from."""
RATE = 4e-3
"""Learning rate at the start; at the end of a run it is a fiftieth."""


class Networks(nn.Module):
    """Weights of two networks of two layers, biases the last rows.

    `shape_in` [mid + root + 1, hidden], `shape_out` [hidden + 1, 7]; `look_in`
    [mid + root + 3 + 1, hidden] also reads the direction that a node is seen in, `look_out`
    [hidden + 1, 3].
    """

    def __init__(self, features: int, hidden: int, generator: torch.Generator) -> None:
        """`features` are those of a mid and its root together."""
        super().__init__()

        def layer(reads: int, gives: int, factor: float = 1.0) -> nn.Parameter:
            bound = factor / math.sqrt(reads)
            weights = (2 * torch.rand(reads + 1, gives, generator=generator) - 1) * bound
            weights[-1] = 0
            return nn.Parameter(weights)

        self.shape_in, self.shape_out = layer(features, hidden), layer(hidden, SHAPE, QUIET)
        self.look_in, self.look_out = layer(features + 3, hidden), layer(hidden, LOOK, QUIET)

    def told(
        self,
        mid: Float[Tensor, "m f"],
        root: Float[Tensor, "r g"],
        root_of: Int[Tensor, "m"],
        directions: Float[Tensor, "m 3"],
    ) -> Float[Tensor, "m 10"]:
        """Of each mid log sizes (3), a quaternion's difference from no turn (4), and what is added
        to its colour, before the logistic function, as it is seen in a direction, a vector of
        length 1 from the camera. `mid` and `root` are features."""
        weights = (self.shape_in, self.shape_out, self.look_in, self.look_out)
        found: Tensor = _Told.apply(mid, root, root_of, directions, *weights)  # type: ignore[no-untyped-call]
        return found

    def trained(self, steps: int) -> TrainedModule:
        """With an optimizer for a run of so many steps."""
        rate = Rate(RATE, RATE / 50, steps)
        optimizer = torch.optim.Adam(self.parameters(), lr=RATE, eps=EPSILON, foreach=True)
        return TrainedModule(self, optimizer, [rate])


class _Told(torch.autograd.Function):
    """Both networks as one of twice the width. Most of it is memory and not arithmetic: what is
    read of a root is multiplied once for all its mids, and products are laid out as libraries are
    quick at, with the long side last or padded to `PADDED` columns."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        mid: Tensor,
        root: Tensor,
        root_of: Tensor,
        directions: Tensor,
        shape_in: Tensor,
        shape_out: Tensor,
        look_in: Tensor,
        look_out: Tensor,
    ) -> Tensor:
        f, wide = mid.shape[1], shape_in.shape[1]
        first = torch.cat([shape_in[:-1], look_in[:-4]], 1)
        bias = torch.cat([shape_in[-1], look_in[-1]])
        turned = torch.cat([look_in.new_zeros(3, wide), look_in[-4:-1]], 1)
        read, weights = torch.cat([mid, directions], 1), torch.cat([first[:f], turned])
        hidden = torch.addmm(bias, root, first[f:]).index_select(0, root_of)
        hidden.addmm_(read, weights).relu_()
        second = look_out.new_zeros(2 * wide + 1, PADDED)
        second[:wide, :SHAPE], second[-1, :SHAPE] = shape_out[:-1], shape_out[-1]
        second[wide:-1, SHAPE:TOLD], second[-1, SHAPE:TOLD] = look_out[:-1], look_out[-1]
        told = torch.addmm(second[-1], hidden, second[:-1])[:, :TOLD]
        ctx.save_for_backward(root, root_of, read, first, hidden, second)
        return told

    @staticmethod
    def backward(ctx: FunctionCtx, told: Tensor) -> tuple[Tensor | None, ...]:
        saved: tuple[Tensor, ...] = ctx.saved_tensors  # type: ignore[attr-defined]
        root, root_of, read, first, hidden, second = saved
        f, wide = read.shape[1] - 3, hidden.shape[1] // 2
        inner = told @ second[:-1, :TOLD].T
        inner = torch.ops.aten.threshold_backward(inner, hidden, 0.0)
        above = inner.new_zeros(len(root), 2 * wide).index_add_(0, root_of, inner)
        outer, total = (told.T @ hidden).T, told.sum(0, keepdim=True)
        shape_out = torch.cat([outer[:wide, :SHAPE], total[:, :SHAPE]])
        look_out = torch.cat([outer[wide:, SHAPE:], total[:, SHAPE:]])
        weights, bias = read.T @ inner, above.sum(0, keepdim=True)
        over = root.T @ above
        shape_in = torch.cat([weights[:f, :wide], over[:, :wide], bias[:, :wide]])
        look_in = torch.cat(
            [weights[:f, wide:], over[:, wide:], weights[f:, wide:], bias[:, wide:]]
        )
        padded = first.new_zeros(2 * wide, max(f, PADDED))
        padded[:, :f] = first[:f].T
        mid = (inner @ padded)[:, :f]
        return mid, above @ first[f:].T, None, None, shape_in, shape_out, look_in, look_out
