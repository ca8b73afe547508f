"""Marching cubes: the surface on which values of a grid are zero, or a signed distance is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from numpy.typing import NDArray
from torch import Tensor

from splat.mesh.mesh import Mesh
from splat.system import machine

Distance = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]
"""Signed distances at points, negative inside."""

BLOCK = 8
"""Cells along an edge of the blocks that are looked at first."""
_STEEPEST = 2.0
"""Lipschitz constant that is allowed for what is taken for a distance; that of a true one is 1."""
_BYTES = 6
"""A value, and whether it and the cell behind it count."""
_CHUNK = 1 << 18
"""Points asked for at a time."""


def check_scikit_image() -> None:
    """Raise ImportError where marching cubes cannot be had."""
    if find_spec("skimage") is None:
        raise ImportError("meshes need scikit-image; run `pip install 'splat-toolkit[mesh]'`")


def check_memory(sides: Sequence[int]) -> None:
    """Raise ValueError where a grid of so many values along its sides does not fit into memory."""
    wanted, memory = _BYTES * math.prod(int(side) for side in sides), machine.memory()
    if memory is not None and wanted > memory[1]:
        raise ValueError(
            f"a grid of {' x '.join(str(side) for side in sides)} takes {wanted / 1e9:.3g} GB, and"
            f" {memory[1] / 1e9:.3g} GB are free; lower --resolution"
        )


def from_distance(
    distance: Distance,
    low: Sequence[float],
    high: Sequence[float],
    resolution: int = 256,
    device: torch.device | str = "cpu",
) -> Mesh:
    """Where a signed distance is zero inside a box, with `resolution` cells along its longest side.

    Cells are nearly cubes. The distance is asked for in the middle of blocks of 8 x 8 x 8 cells,
    and in their corners only where the surface may run through a block (it may change by up to 2
    over a way of 1); memory is 6 bytes for each of the grid's corners, 390 MB at 400 cells a side.
    What the box cuts stays open there. A mesh without faces where the box holds no surface.
    """
    check_scikit_image()
    if resolution < 2:
        raise ValueError(f"resolution is {resolution}; expected 2 cells or more along a side")
    corner, sides = np.array(low, np.float64), np.array(high, np.float64) - np.array(low)
    if not (sides > 0).all():
        raise ValueError(f"the box from {list(low)} to {list(high)} is empty; expected low < high")
    cells = np.maximum(1, np.rint(sides / sides.max() * resolution)).astype(np.int64)
    check_memory(cells + 1)
    spacing = sides / cells

    def asked(index: NDArray[np.float64]) -> NDArray[np.float32]:
        points = torch.from_numpy(corner + spacing * index).float()
        with torch.no_grad():
            distances = [distance(part.to(device)).float().cpu() for part in points.split(_CHUNK)]
        return torch.cat(distances).numpy()

    blocks = -(-cells // BLOCK)
    middle = np.indices(tuple(blocks)).reshape(3, -1).T * BLOCK + BLOCK / 2
    coarse = asked(middle).reshape(tuple(blocks))
    reach = _STEEPEST * np.linalg.norm(spacing * BLOCK) / 2
    near = ~(np.abs(coarse) > reach)
    values = np.empty(tuple(cells + 1), np.float32)
    for start, layers, wanted in _layers(near, coarse, values):
        index = np.argwhere(wanted)
        if len(index):
            layers[wanted] = asked(index + np.array([start, 0, 0]))
    mesh = zero_surface(values, _spread(near, values.shape))
    return Mesh(corner + spacing * mesh.vertices, mesh.faces)


def zero_surface(
    values: Float32[np.ndarray, "x y z"], cells: Bool[np.ndarray, "x-1 y-1 z-1"]
) -> Mesh:
    """The zero level set in the cells that count, in units of the grid; negative is inside.

    Topologically correct marching cubes (Lewiner et al. 2003).
    """
    check_scikit_image()
    from skimage.measure import marching_cubes

    # A cell is looked at where the mask is set at its far corner.
    mask = np.zeros(values.shape, bool)
    mask[1:, 1:, 1:] = cells
    nothing = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    if not values.min() < 0 < values.max():
        return nothing
    try:
        surface = marching_cubes(values, 0.0, gradient_direction="descent", mask=mask)
    except RuntimeError:  # no surface in the cells that count
        return nothing
    return Mesh(surface[0].astype(np.float64), surface[1].astype(np.int64))


def _layers(
    near: Bool[np.ndarray, "a b c"],
    coarse: Float32[np.ndarray, "a b c"],
    values: Float32[np.ndarray, "x y z"],
) -> Iterator[tuple[int, Float32[np.ndarray, "l y z"], Bool[np.ndarray, "l y z"]]]:
    """Slices of `values`, set to those of their blocks: where each starts, and which are wanted."""
    for block in range(len(near) + 1):
        start = block * BLOCK
        layers = values[start : start + BLOCK]
        own = min(block, len(near) - 1)
        layers[:] = _to_corners(coarse[own], layers.shape[1:])
        inside = _touched(near[own], layers.shape[1:])
        wanted = np.repeat(inside[None], len(layers), axis=0)
        if len(layers) and block:
            # The first layer is also the last one of the blocks before.
            wanted[0] |= _touched(near[block - 1], layers.shape[1:])
        yield start, layers, wanted


def _to_corners(blocks: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The value of the block that each corner of a layer lies in."""
    rows, columns = (
        np.minimum(np.arange(side) // BLOCK, n - 1)
        for side, n in zip(shape, blocks.shape, strict=True)
    )
    return np.asarray(blocks[rows[:, None], columns])


def _touched(near: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Corners of a layer that belong to a cell of a near block."""
    cells = near.repeat(BLOCK, 0).repeat(BLOCK, 1)[: shape[0] - 1, : shape[1] - 1]
    corners = np.zeros(shape, bool)
    for row in (slice(None, -1), slice(1, None)):
        for column in (slice(None, -1), slice(1, None)):
            corners[row, column] |= cells
    return corners


def _spread(near: Bool[np.ndarray, "a b c"], shape: tuple[int, ...]) -> Bool[np.ndarray, "x y z"]:
    """For every cell of the grid, whether its block is near."""
    x, y, z = (side - 1 for side in shape)
    cells = near.repeat(BLOCK, 0)[:x].repeat(BLOCK, 1)[:, :y].repeat(BLOCK, 2)[:, :, :z]
    return np.asarray(cells)
