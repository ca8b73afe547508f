"""Many places as few Gaussians: one for each cell of a plane, or of space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from scipy.spatial import cKDTree
from torch import Tensor

from splat.core.frame import morton_order, neighbour_distances
from splat.core.strategy import Start
from splat.math import quaternions, sh_from_rgb

THIN = 0.1
"""Scale across a plane, in units of the scales along it."""
_COARSER = 1.04


@dataclass(frozen=True)
class Placed:
    """Places with colours, on planes or on none."""

    places: Float64[ndarray, "n 3"]
    colors: Float64[ndarray, "n 3"]
    """RGB in [0, 1]."""
    sheets: Int64[ndarray, "n"]
    """Number of the plane of each place; -1: none."""
    sizes: Float64[ndarray, "n"]
    """Distance of each place to the next one in its photo."""

    def take(self, rows: Bool[ndarray, "n"]) -> Placed:
        """Some of the places."""
        return Placed(*(values[rows] for values in vars(self).values()))


def joined_places(parts: Sequence[Placed]) -> Placed:
    """All places of the parts, in their order."""
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return Placed(*(np.concatenate(column) for column in columns))


def plane_basis(normal: Float64[ndarray, "3"]) -> Float64[ndarray, "3 3"]:
    """A rotation whose last column is the normal."""
    other = np.eye(3)[np.abs(normal).argmin()]
    first = np.cross(other, normal)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(normal, first), normal], 1)


def thinned(placed: Placed, normals: Float64[ndarray, "s 3"], most: int) -> Placed:
    """At most `most` places, the mean of those in a cell each; their sizes are the cells'.

    Cells are squares on planes and cubes elsewhere, no smaller than what places are apart in their
    photos; near photos, which show more, weigh more.
    """
    if not len(placed.places) or most < 1:
        return Placed(*(values[:0] for values in vars(placed).values()))
    local = placed.places.copy()
    for number, normal in enumerate(normals):
        mine = placed.sheets == number
        local[mine] = placed.places[mine] @ plane_basis(normal)
        local[mine, 2] = 0.0
    side = max(float(np.median(placed.sizes)), 1e-9)
    while True:
        cells = _numbered(placed.sheets, np.floor(local / side).astype(np.int64))
        _, first, which = np.unique(cells, return_index=True, return_inverse=True)
        if len(first) <= most:
            break
        side *= max(_COARSER, (len(first) / most) ** 0.4)
    which, count = which.reshape(-1), len(first)
    weight = 1 / np.maximum(placed.sizes, 1e-9) ** 2
    total = np.bincount(which, weight, count)

    def mean(values: Float64[ndarray, "n 3"]) -> Float64[ndarray, "m 3"]:
        sums = [np.bincount(which, weight * column, count) for column in values.T]
        return np.stack(sums, 1) / total[:, None]

    sizes = np.full(count, side)
    return Placed(mean(placed.places), mean(placed.colors), placed.sheets[first], sizes)


def without_near(placed: Placed, others: Placed) -> Placed:
    """Places that have none of the others in their own cell, as a ball of its size."""
    if not len(placed.places) or not len(others.places):
        return placed
    distance, _ = cKDTree(others.places).query(placed.places)
    return placed.take(distance > placed.sizes / 2)


def _numbered(sheets: Int64[ndarray, "n"], cells: Int64[ndarray, "n 3"]) -> Int64[ndarray, "n"]:
    """One number for each cell of each plane."""
    cells = cells - cells.min(0)
    x, y, z = (cells.max(0) + 1).tolist()
    if (int(sheets.max()) + 2) * x * y * z >= 2**62:
        # Places far beyond all others: those share cells at the end.
        cells = np.minimum(cells, 2**18 - 1)
        x = y = z = 2**18
    return np.asarray((((sheets + 1) * x + cells[:, 0]) * y + cells[:, 1]) * z + cells[:, 2])


def columns_of_places(
    placed: Placed, normals: Float64[ndarray, "s 3"], start: Start, sh_degree: int
) -> dict[str, Tensor]:
    """Columns of `Explicit` in Morton order: on planes flat discs of the size of their cells, with
    the third axis along the normal; elsewhere balls as large as the next ones are far."""
    count = len(placed.places)
    flat = placed.sheets >= 0
    positions = torch.from_numpy(placed.places).float()
    scales = neighbour_distances(positions).double().numpy()[:, None].repeat(3, 1)
    scales[flat] = placed.sizes[flat, None] * np.array([1.0, 1.0, THIN])
    turns = np.tile(np.eye(3), (count, 1, 1))
    for number, normal in enumerate(normals):
        turns[placed.sheets == number] = plane_basis(normal)
    sh = torch.zeros(count, (sh_degree + 1) ** 2, 3)
    sh[:, 0] = sh_from_rgb(torch.from_numpy(placed.colors).float())
    rows = {
        "mean": positions,
        "quat": quaternions(torch.from_numpy(turns)).float(),
        "log_scale": torch.from_numpy(scales * start.scale).log().float(),
        "opacity_logit": torch.logit(torch.tensor(start.opacity)).repeat(count),
        "sh": sh,
    }
    order = morton_order(positions)
    return {name: values[order].contiguous() for name, values in rows.items()}
