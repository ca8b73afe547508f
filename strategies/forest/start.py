"""The first trees: mids and roots on two grids over the Gaussians to start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.core.edit import Rows
from splat.core.frame import spacing_of
from splat.math import SH_C0

FARTHEST = 1 << 30
"""Largest number of a cell along an axis."""
DARKEST = 0.02
"""Least colour to start from, and as far from white the largest: logits are finite."""


@dataclass(frozen=True)
class Seedlings:
    """What a run starts from: columns of leaves, and what their mids and roots are."""

    leaves: Rows
    mids: Rows
    roots: int
    """Number of them; their features are 0 at first."""


def seedlings(rows: Rows, mid_cell: float, root_cell: float) -> Seedlings:
    """Leaves in the place of Gaussians, a mid for each cell of a grid that has any, a root for each
    cell of a coarser grid that has mids.

    Sides of cells are in median distances of neighbours. A mid has the mean colour of its leaves,
    each of which keeps its own brightness.
    """
    mean = rows["mean"]
    spacing = spacing_of(mean)
    mid = grouped(mean, mid_cell * spacing)
    count = torch.bincount(mid)
    centre = summed(mean, mid, len(count)) / count[:, None]
    root = grouped(centre, root_cell * spacing)
    own = (0.5 + SH_C0 * rows["sh"][:, 0].float()).clamp(DARKEST, 1 - DARKEST).logit()
    rgb = summed(own, mid, len(count)) / count[:, None]
    leaves = {
        "mean": mean,
        "opacity_logit": rows["opacity_logit"],
        "size": rows["log_scale"].mean(1, keepdim=True),
        "light": (own - rgb[mid]).mean(1),
        "node": mid.to(mean.dtype),
    }
    return Seedlings(leaves, {"rgb": rgb, "node": root.to(mean.dtype)}, int(root.max()) + 1)


def grouped(positions: Float[Tensor, "n 3"], side: float) -> Int[Tensor, "n"]:
    """The number of the cell of each position, among those that have any."""
    cells = (positions / side).floor().nan_to_num(0.0).clamp(-FARTHEST, FARTHEST).long()
    group: Tensor = torch.unique(cells, dim=0, return_inverse=True)[1]
    return group


def summed(values: Float[Tensor, "n d"], group: Int[Tensor, "n"], groups: int) -> Tensor:
    """Sums of rows by group, [groups, d]."""
    total = values.new_zeros(groups, values.shape[1])
    total.index_add_(0, group, values)
    return total
