"""The division of a scene: its ground plane, and cells with equally many points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from splat.blocks.cells import BEYOND, Cell, Ground
from splat.types import Camera

LEAST_POINTS = 32
"""Least number of points in a cell: from fewer no scene grows."""
AGREE = 0.1
"""Ratio of the variances of the cameras' places across and along below which they stand on a line,
which lies in many planes."""
TURNS = 90
"""Directions in which the sides of the ground are tried, a degree apart."""
AS_WELL = 1.1
"""Factor over the smallest area up to which a rectangle along axes of the input is preferred: so
are most streets and walls of a scene that was put upright."""
BULK = torch.tensor([0.01, 0.99], dtype=torch.float64)
"""Quantiles of the points along each side between which the bulk of the scene lies."""


def ground_of(cameras: Sequence[Camera]) -> Ground:
    """The plane of largest spread of the cameras, with sides that enclose them tightly.

    Where they stand on a line, the one of these planes whose normal is nearest to what cameras
    have above them.
    """
    centres = torch.stack([camera.centre.double() for camera in cameras])
    middle = centres.mean(0)
    spread, axes = torch.linalg.eigh((centres - middle).T @ (centres - middle))
    up = -torch.stack([camera.world_to_camera[1, :3].double() for camera in cameras]).mean(0)
    normal = axes[:, 0]
    if float(spread[1]) <= AGREE * float(spread[2]):
        line = axes[:, 2]
        leaning = up - (up @ line) * line
        normal = leaning / leaning.norm() if float(leaning.norm()) > 0.1 else normal
    normal = normal if float(normal @ up) >= 0 else -normal
    along, across = _sides(centres - middle, normal)
    reach = torch.stack([(centres - middle) @ along, (centres - middle) @ across], 1)
    most = float(reach.norm(dim=1).max())
    return Ground(_corner(middle), _corner(along), _corner(across), most if most > 1e-9 else 1.0)


def _sides(
    places: Float[Tensor, "n 3"], normal: Float[Tensor, "3"]
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Directions of the smallest bounding rectangle of places on the ground, the longer side first.

    Sides along an axis of the input are taken where that is about as small.
    """
    axis = torch.eye(3, dtype=torch.float64)[int(normal.abs().argmin())]
    first = axis - (axis @ normal) * normal
    first = first / first.norm()
    second = torch.linalg.cross(normal, first)
    angles = torch.arange(TURNS, dtype=torch.float64) * (math.pi / 2 / TURNS)
    flat = torch.stack([places @ first, places @ second], 1)
    sides = torch.stack(
        [_extent(flat[:, 0] * a.cos() + flat[:, 1] * a.sin()) for a in angles]
        + [_extent(flat[:, 1] * a.cos() - flat[:, 0] * a.sin()) for a in angles]
    ).reshape(2, TURNS)
    areas = sides.prod(0)
    best = int(areas.argmin())
    if float(areas[0]) <= AS_WELL * float(areas[best]) + 1e-12:
        best = 0
    cos, sin = angles[best].cos(), angles[best].sin()
    one, other = first * cos + second * sin, second * cos - first * sin
    return (one, other) if float(sides[0, best]) >= float(sides[1, best]) else (other, one)


def _extent(values: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    return values.max() - values.min()


def extents(flat: Float[Tensor, "n 2"]) -> tuple[float, float]:
    """Lengths of the sides of the bulk of places on the contracted ground."""
    ordered = flat.sort(0).values
    first, last = (BULK * (len(flat) - 1)).round().long().tolist()
    along, across = (ordered[last] - ordered[first]).clamp_min(1e-9).tolist()
    return along, across


def cells_of(ground: Ground, flat: Float[Tensor, "n 2"], shape: tuple[int, int]) -> list[Cell]:
    """Columns with equally many places of the contracted ground each, cut into rows likewise.

    The cells at the border reach to infinity. Raises ValueError where one would hold too few.
    """
    columns, rows = shape
    if len(flat) < LEAST_POINTS * columns * rows:
        raise ValueError(
            f"blocks is {columns}x{rows} and the scene has {len(flat):,} points; expected"
            f" {LEAST_POINTS} in each block at least: ask for fewer blocks, or give more points"
            " with --init"
        )
    cells = []
    for left, right in _parts(flat[:, 0], columns):
        column = flat[(flat[:, 0] >= left) & (flat[:, 0] < right)]
        cells += [
            Cell(ground, (left, low), (right, high)) for low, high in _parts(column[:, 1], rows)
        ]
    held = [int(cell.around(flat).sum()) for cell in cells]
    if min(held) < LEAST_POINTS:
        raise ValueError(
            f"blocks is {columns}x{rows} and one of them would hold {min(held)} points; expected"
            f" {LEAST_POINTS} at least: ask for fewer blocks along that side"
        )
    return cells


def _parts(values: Float[Tensor, "n"], count: int) -> list[tuple[float, float]]:
    """Intervals with equally many values each; the first and the last have no end."""
    ordered = values.sort().values
    places = [i * len(ordered) // count for i in range(1, count)]
    cuts = [float((ordered[i - 1] + ordered[i]) / 2) for i in places if 0 < i < len(ordered)]
    ends = [-BEYOND, *cuts, BEYOND]
    return list(pairwise(ends))


def squarest(least: int, sides: tuple[float, float]) -> tuple[int, int]:
    """The number of blocks along and across: at least `least`, as few and as square as possible."""
    along, across = sides

    def rank(shape: tuple[int, int]) -> tuple[float, int]:
        square = abs(math.log((along / shape[0]) / (across / shape[1])))
        return square + math.log(shape[0] * shape[1] / least), shape[0] * shape[1]

    rows = range(1, least + 1)
    return min(((math.ceil(least / row), row) for row in rows), key=rank)


def _corner(values: Float[Tensor, "3"]) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
