"""Which views see which blocks, by the points that nothing hides in their pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.types import Camera

MOST_POINTS = 200_000
"""Most points that are projected, evenly taken."""
CELLS, IN_CELL = 32, 8
"""Most cells along the longer side of a picture, and points wanted in each."""
FAR = 1e9
"""A depth at which only the direction matters."""
BEHIND = 1.25
"""Ratio to the depth of the nearest point of a cell at which points count as hidden by it."""


def projected_places(
    camera: Camera, points: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 2"]]:
    """Depths of points, and their places in the picture as shares of its sides.

    Depths are NaN behind the camera and outside of its picture; float64.
    """
    pose, K = camera.world_to_camera.double(), camera.K.double()
    local = points.double() @ pose[:3, :3].T + pose[:3, 3]
    depth = local[:, 2]
    share = (K[:2, :2].diagonal() * local[:, :2] / depth[:, None] + K[:2, 2]) / K.new_tensor(
        [camera.width, camera.height]
    )
    inside = (depth > 0) & (share >= 0).all(1) & (share < 1).all(1)
    return depth.where(inside, torch.nan), share


def grid_of(camera: Camera, count: int) -> tuple[int, int]:
    """Cells across and down a picture that shows so many points."""
    longer = max(camera.width, camera.height)
    area = camera.width * camera.height / longer**2
    side = min(CELLS, max(2, round(math.sqrt(count / IN_CELL / area))))
    return max(1, round(side * camera.width / longer)), max(1, round(side * camera.height / longer))


def in_front(
    depth: Float[Tensor, "m"], share: Float[Tensor, "m 2"], grid: tuple[int, int]
) -> tuple[Bool[Tensor, "m"], Tensor]:
    """Which of the points inside a picture are not hidden, and the cell of each."""
    across, down = grid
    place = (share * share.new_tensor(grid)).long()
    cell = place[:, 1].clamp(0, down - 1) * across + place[:, 0].clamp(0, across - 1)
    nearest = torch.full((across * down,), math.inf, dtype=depth.dtype)
    nearest = nearest.scatter_reduce(0, cell, depth, "amin")
    return depth <= BEHIND * nearest[cell], cell


def view_shares(
    cameras: Sequence[Camera],
    points: Float[Tensor, "n 3"],
    member: Bool[Tensor, "n b"],
    owners: Callable[[Float[Tensor, "m 3"]], Bool[Tensor, "m b"]] | None = None,
) -> Float[Tensor, "v b"]:
    """The share of each camera's picture that each block covers, by its visible points.

    Points and cameras are in one frame. A part of the picture with points of several blocks is
    shared by them in proportion, and points of two count for both. A part without points shows the
    sky or what else is far away: it is that of the block that far places there are `owners` of, or
    nobody's.
    """
    stride = max(1, len(points) // MOST_POINTS)
    points, member = points[::stride], member[::stride]
    shares = torch.zeros(len(cameras), member.shape[1], dtype=torch.float64)
    for i, camera in enumerate(cameras):
        depth, share = projected_places(camera, points)
        seen = (~depth.isnan()).nonzero()[:, 0]
        if not len(seen):
            continue
        grid = grid_of(camera, len(seen))
        front, cell = in_front(depth[seen], share[seen], grid)
        rows, cell = seen[front], cell[front]
        total = torch.bincount(cell, minlength=grid[0] * grid[1]).double()
        weight = (1 / total)[cell]
        covered = (member[rows] * weight[:, None]).sum(0)
        if owners is not None:
            covered += owners(_far(camera, grid)[total == 0]).sum(0)
        shares[i] = covered / (grid[0] * grid[1])
    return shares


def _far(camera: Camera, grid: tuple[int, int]) -> Float[Tensor, "m 3"]:
    """Places far behind the middle of each cell of a picture, row by row."""
    across, down = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in grid)
    v, u = torch.meshgrid(down * camera.height, across * camera.width, indexing="ij")
    pose, K = camera.world_to_camera.double(), camera.K.double()
    x, y = (u.reshape(-1) - K[0, 2]) / K[0, 0], (v.reshape(-1) - K[1, 2]) / K[1, 1]
    local = FAR * torch.stack([x, y, torch.ones_like(x)], 1)
    return (local - pose[:3, 3]) @ pose[:3, :3]


def views_of_blocks(
    share: Float[Tensor, "v b"], own: Bool[Tensor, "v b"], least: float
) -> Bool[Tensor, "v b"]:
    """Views of each block: those that it covers enough of, and those taken from within it."""
    return own | (share >= least)
