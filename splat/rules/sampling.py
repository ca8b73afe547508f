"""How finely cameras sample the places where rows lie, and what they can tell of sizes there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from splat.types import Camera

WIDENED = 0.15
"""Share of a picture's sides by which it is widened on each: rows beyond its edge reach in."""
_AT_ONCE = 1 << 16
"""Pairs of a row and a camera that are looked at in one go: what fits the caches of a core."""


def least_sizes(
    positions: Float[Tensor, "n 3"], cameras: Sequence[Camera], near: float, variance: float
) -> Float[Tensor, "n"]:
    """Least standard deviation that cameras can tell of at each position, units of their frame.

    That of a point that was convolved with the 3D filter of Mip-Splatting, sqrt(variance) / rate;
    0 where no camera looks.
    """
    rates = sampling_rates(positions, cameras, near)
    return (math.sqrt(variance) / rates).where(rates > 0, 0)


@torch.no_grad()
def sampling_rates(
    positions: Float[Tensor, "n 3"], cameras: Sequence[Camera], near: float
) -> Float[Tensor, "n"]:
    """Pixels per unit of length with which the camera that sees it best sees each position.

    Focal length in pixels over depth, the largest of the cameras (Yu et al., "Mip-Splatting",
    section 4.1); positions and cameras in one frame. 0 where no camera has it deeper than `near`
    and within its widened picture.
    """
    rates = positions.new_zeros(len(positions))
    if not cameras:
        return rates
    poses = torch.stack([camera.world_to_camera for camera in cameras]).to(positions)
    K = torch.stack([camera.K for camera in cameras]).to(positions)
    sides = positions.new_tensor([[camera.width, camera.height] for camera in cameras])
    # Rows of one matrix: depth, and how far from the middle in half sides of the widened picture.
    reach = (0.5 + WIDENED) * sides / K.diagonal(dim1=1, dim2=2)[:, :2]
    off = (K[:, :2, 2] - sides / 2) / K.diagonal(dim1=1, dim2=2)[:, :2]
    depth = poses[:, 2]
    across = (poses[:, :2] + off[:, :, None] * depth[:, None]) / reach[:, :, None]
    towards = torch.stack([depth, across[:, 0], across[:, 1]])
    focal = K.diagonal(dim1=1, dim2=2)[:, :2].amax(1)
    for part in torch.arange(len(positions), device=positions.device).split(
        max(1, _AT_ONCE // len(cameras))
    ):
        z, u, v = (positions[part] @ rows[:, :3].T + rows[:, 3] for rows in towards)
        seen = (z > near) & (u.abs() <= z) & (v.abs() <= z)
        rates[part] = (focal / z).where(seen, 0).amax(1)
    return rates
