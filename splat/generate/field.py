"""The field of Gaussians: of each point of a grid the distance to the nearest one (GVGEN)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional as F

REACH = 0.15
"""Distance, in edges of the cube, beyond which all is equally far (GVGEN's released code)."""


def points(grid: int) -> Float[ndarray, "n 3"]:
    """Points of a grid in the cube from -0.5 to 0.5, x slowest."""
    along = np.linspace(-0.5, 0.5, grid)
    return np.stack(np.meshgrid(along, along, along, indexing="ij"), -1).reshape(-1, 3)


def field_of(means: Float[ndarray, "n 3"], grid: int) -> Float[Tensor, "x y z"]:
    """Distances to the nearest of some means, from 0 to `REACH`, as -1 to 1."""
    far, _ = cKDTree(means).query(points(grid), distance_upper_bound=REACH)  # or infinite
    clipped = torch.from_numpy(np.minimum(far, REACH)).float()
    return (clipped / (REACH / 2) - 1).reshape(grid, grid, grid)


def distances(field: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """Distances in edges of the cube, of a field."""
    return (field.clamp(-1, 1) + 1) * (REACH / 2)


def sampled(
    volumes: Float[Tensor, "b c x y z"], places: Float[Tensor, "b n 3"]
) -> Float[Tensor, "b n c"]:
    """Volumes at places in the cube from -0.5 to 0.5, linear between voxels, of which the outermost
    are on its sides."""
    # `grid_sample` has the last axis first.
    at = (2 * places.flip(-1))[:, :, None, None]
    found = F.grid_sample(volumes, at, align_corners=True, padding_mode="border")
    return found[..., 0, 0].transpose(1, 2)


def about(
    fields: Float[Tensor, "b x y z"], places: Float[Tensor, "b n 3"]
) -> tuple[Float[Tensor, "b n 64"], Float[Tensor, "b n 3"]]:
    """The four voxels along each axis about the cell of each place in the cube from -0.5 to 0.5,
    x slowest, and where in the cell it is, 0 to 1. Beyond the sides are the outermost again."""
    grid = fields.shape[-1]
    scaled = (places + 0.5) * (grid - 1)
    cell = scaled.floor().clamp(0, grid - 2)
    near = (cell.long()[..., None] + torch.arange(-1, 3, device=cell.device)).clamp(0, grid - 1)
    x, y, z = near.unbind(2)
    index = (x[..., :, None, None] * grid + y[..., None, :, None]) * grid + z[..., None, None, :]
    found = fields.flatten(1).gather(1, index.flatten(1))
    return found.view(*places.shape[:2], 4**3), scaled - cell
