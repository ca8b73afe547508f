"""The points that a block starts from: its own, and a sparse backdrop of those outside."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from splat.blocks.cells import AS_GIVEN, Cell
from splat.blocks.visibility import grid_of, in_front, projected_places
from splat.core.frame import neighbour_distances
from splat.math import spread
from splat.types import Camera, Points

LOOKED_AT = 64
"""Most views of a block in which the area covered by outside points is measured."""
NEARNESS = 3
"""Exponent of the distance, in margins, by which half of the backdrop gets sparser."""


def start_points(
    points: Points,
    cell: Cell,
    margin: float,
    cameras: Sequence[Camera],
    most: int,
    backdrop: float,
    generator: torch.Generator,
) -> Points:
    """The points in a cell and its margin, and those outside that its pictures need.

    Points and `cameras`, those of the block's views, are in the frame of the input. There are at
    most `most` points (0: no limit), a share `backdrop` of them of those outside (where there is no
    limit: so many for each point inside). Gaussians grow from points with the distances to their
    neighbours, so that a thin backdrop is one of large Gaussians, without holes.
    """
    flat = cell.ground.flat(points.positions, AS_GIVEN)
    inside, beyond = cell.around(flat, margin), cell.away(flat) - margin
    own, outside = inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]
    behind = round(backdrop * (most or len(own)))
    covering = covered_area(points.positions, cameras)[outside]
    chosen = outside[_backdrop(covering, beyond[outside] / max(margin, 1e-9), behind, generator)]
    room = most - len(chosen) if most else len(own)
    if len(own) > room:
        own = own[torch.randperm(len(own), generator=generator)[:room].sort().values]
    rows = torch.cat([own, chosen]).sort().values
    return points.take(rows)


def covered_area(points: Float[Tensor, "n 3"], cameras: Sequence[Camera]) -> Float[Tensor, "n"]:
    """Area of pictures that each point stands for, summed over at most `LOOKED_AT` of `cameras`.

    A square as wide as the distance to its neighbours, in parts of the picture; nothing where
    others hide it.
    """
    covered = torch.zeros(len(points), dtype=torch.float64)
    if not len(points):
        return covered
    wide = neighbour_distances(points).double()
    for i in spread(len(cameras), LOOKED_AT):
        depth, share = projected_places(cameras[i], points)
        seen = (~depth.isnan()).nonzero()[:, 0]
        if not len(seen):
            continue
        front, _ = in_front(depth[seen], share[seen], grid_of(cameras[i], len(seen)))
        rows = seen[front]
        focal = float(cameras[i].K[0, 0] * cameras[i].K[1, 1])
        area = focal / (cameras[i].width * cameras[i].height)
        covered[rows] += (area * (wide[rows] / depth[rows]).square()).clamp_max(1.0)
    return covered


def _backdrop(
    covering: Float[Tensor, "n"],
    beyond: Float[Tensor, "n"],
    count: int,
    generator: torch.Generator,
) -> Tensor:
    """Rows of `count` points of the backdrop, ascending; `beyond` is their distance in margins."""
    first = weighted_draw(covering, count // 2, generator)
    left = covering.clone()
    left[first] = 0
    near = weighted_draw(
        left / (1 + beyond.clamp_min(0)) ** NEARNESS, count - len(first), generator
    )
    return torch.cat([first, near]).sort().values


def weighted_draw(weights: Float[Tensor, "n"], count: int, generator: torch.Generator) -> Tensor:
    """At most `count` rows, ascending, drawn without replacement in proportion to their weights.

    Rows of no weight are never drawn (Efraimidis and Spirakis 2006).
    """
    rows = (weights > 0).nonzero()[:, 0]
    if len(rows) <= count:
        return rows
    u = torch.rand(len(rows), generator=generator, dtype=torch.float64).clamp_min(1e-300)
    keys = u.log() / weights[rows]
    return rows[keys.topk(count).indices].sort().values
