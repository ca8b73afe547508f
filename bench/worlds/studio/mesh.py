"""The objects as triangles: marching cubes, then every vertex moved onto the exact surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from splat.datasets.tracer.vectors import Array, Distance, Vector, columns, dot
from worlds.studio.shapes import RADIUS, gradient, normal

COARSE = 8
"""Cells of the fine grid along the edge of a coarse one."""
NEWTON = 4
INSTALL = "run `pip install 'splat-toolkit[studio]'`"


@dataclass(frozen=True)
class Mesh:
    """A closed surface, its faces counterclockwise from outside."""

    vertices: Array
    """[n, 3], on the zero set to about 1e-9."""
    normals: Array
    """[n, 3], unit, outward: the gradient of the distance."""
    faces: npt.NDArray[np.int32]
    """[m, 3]."""


def triangles(distance: Distance, resolution: int = 224) -> Mesh:
    """The zero set of a distance within `RADIUS`, `resolution` cells across (a multiple of 8)."""
    measure = _measure()
    values, origin, cell = _grid(distance, resolution)
    vertices, faces, _, _ = measure.marching_cubes(values, 0.0, allow_degenerate=False)
    x, y, z = columns(vertices.astype(np.float64) * cell + origin)
    for _ in range(NEWTON):
        d = distance(x, y, z)
        u, v, w = gradient(distance, (x, y, z))
        d = d / np.maximum(dot((u, v, w), (u, v, w)), 0.1)
        x, y, z = x - d * u, y - d * v, z - d * w
    placed: Vector = (x, y, z)
    return Mesh(np.stack(placed, 1), np.stack(normal(distance, placed), 1), faces.astype(np.int32))


def _measure() -> Any:
    try:
        from skimage import measure
    except ImportError as error:
        raise ImportError(f"the studio needs scikit-image, which is not here: {INSTALL}") from error
    return measure


def _grid(distance: Distance, resolution: int) -> tuple[Array, float, float]:
    """Values at the corners of the cells (float32), the place of the first, and a cell's side.

    Far from the surface they are those of a coarse grid, whose signs are right.
    """
    if resolution % COARSE:
        raise ValueError(f"resolution is {resolution}; expected a multiple of {COARSE}")
    count = resolution // COARSE
    cell = 2 * RADIUS / resolution
    side = cell * COARSE
    middles = -RADIUS + side * (np.arange(count) + 0.5)
    x, y, z = (axis.ravel() for axis in np.meshgrid(middles, middles, middles, indexing="ij"))
    far = distance(x, y, z)
    values = np.empty((resolution + 1,) * 3, np.float32)
    blocks = far.reshape((count,) * 3)
    for axis in range(3):
        blocks = blocks.repeat(COARSE, axis)
    # The last corners belong to the last cells.
    values[:] = np.pad(blocks, ((0, 1),) * 3, mode="edge")
    # No cell of a block has a corner farther from its middle than half its diagonal.
    near = np.flatnonzero(np.abs(far) < 0.87 * side + cell)
    corners = cell * (np.arange(COARSE + 1) - COARSE / 2)
    for start in range(0, len(near), 256):
        part = near[start : start + 256]
        a = (x[part, None] + corners)[:, :, None, None]
        b = (y[part, None] + corners)[:, None, :, None]
        c = (z[part, None] + corners)[:, None, None, :]
        fine = distance(*(np.ascontiguousarray(e) for e in np.broadcast_arrays(a, b, c)))
        for number, block in zip(part, fine, strict=True):
            i, j, k = (COARSE * int(n) for n in np.unravel_index(number, (count,) * 3))
            values[i : i + COARSE + 1, j : j + COARSE + 1, k : k + COARSE + 1] = block
    return values, -RADIUS, cell
