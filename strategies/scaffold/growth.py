"""Where anchors are born: cells without one in which offsets pull hard."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.core.edit import Append
from splat.strategies.scaffold.grid import cells, cells_of, centres, keys


@dataclass(frozen=True)
class Level:
    """One of the grids on which anchors grow."""

    side: float
    """Of its cells, frame of training."""
    threshold: float
    """Mean screen gradient from which an offset is a candidate."""
    keep: float
    """Share of the candidates that is kept, drawn at random."""


@dataclass(frozen=True)
class Pull:
    """What growth knows of N anchors with k offsets each."""

    anchors: Float[Tensor, "n 3"]
    points: Float[Tensor, "n k 3"]
    """Where the offsets are, frame of training."""
    features: Float[Tensor, "n f"]
    gradient: Float[Tensor, "n k"]
    """Mean length of the screen gradient over the window."""
    ready: Bool[Tensor, "n k"]
    """Offsets that were seen often enough to be judged."""


def levels(voxel: float, threshold: float, count: int, coarsest: int, finer: int) -> list[Level]:
    """The grids, from the coarsest on: cells `finer` times smaller, thresholds twice as high."""
    return [
        Level(voxel * coarsest / finer**level, threshold * 2**level, 1 - 0.5 ** (level + 1))
        for level in range(count)
    ]


def grown(
    pull: Pull, grids: list[Level], chances: Float[Tensor, "l n k"], room: int | None = None
) -> tuple[Append, ...]:
    """Anchors to be born on each grid, as large as its cells, without offsets.

    `chances` are even draws from 0 to 1: an offset is kept where its own is above 1 - keep. Of more
    births than `room` those of the largest gradient happen. A grid after the first is looked at
    only if something was born before it (as the released code has it).
    """
    born: list[Append] = []
    taken = pull.anchors
    left = room
    for grid, chance in zip(grids, chances, strict=True):
        if born or grid is grids[0]:
            chosen = pull.ready & (pull.gradient >= grid.threshold) & (chance > 1 - grid.keep)
            append = _born(pull, chosen.flatten().nonzero().squeeze(1), grid, taken, left)
            if append is not None:
                born.append(append)
                taken = torch.cat([taken, append.rows["anchor"]])
                left = None if left is None else left - len(append.parents)
    return tuple(born)


def _born(
    pull: Pull,
    chosen: Int[Tensor, "c"],
    grid: Level,
    taken: Float[Tensor, "t 3"],
    room: int | None,
) -> Append | None:
    """One anchor in every cell that has candidates and no anchor."""
    points = pull.points.flatten(0, 1).index_select(0, chosen)
    found, cell = torch.unique(keys(cells(points, grid.side)), return_inverse=True)
    free = ~torch.isin(found, keys(cells(taken, grid.side)))
    k = pull.points.shape[1]
    parents, gradient = chosen // k, pull.gradient.flatten().index_select(0, chosen)
    pulls = gradient.new_full((len(found),), -torch.inf)
    pulls.scatter_reduce_(0, cell, gradient, "amax")
    if room is not None and int(free.sum()) > room:
        order = pulls.masked_fill(~free, -torch.inf).argsort(descending=True, stable=True)
        free = torch.zeros_like(free).index_fill_(0, order[: max(room, 0)], True)
    if not free.any():
        return None
    middle = centres(cells_of(found[free]), grid.side)
    features = pull.features.new_full((len(found), pull.features.shape[1]), -torch.inf)
    index = cell[:, None].expand(-1, features.shape[1])
    features.scatter_reduce_(0, index, pull.features.index_select(0, parents), "amax")
    # Its parent, for the log, is the anchor whose offset pulls hardest, of equals the first.
    leads = gradient >= pulls[cell]
    first = parents.new_full((len(found),), len(pull.anchors))
    first.scatter_reduce_(0, cell[leads], parents[leads], "amin")
    size = torch.full((len(middle), 6), grid.side, device=middle.device).log()
    rows = {
        "anchor": middle,
        "feature": features[free],
        "reach": size,
        "offset": middle.new_zeros(len(middle), k, 3),
    }
    return Append(rows, first[free], "grow")
