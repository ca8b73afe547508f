"""Normals of a depth picture."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize, pad

from splat.types import Camera

JUMP = 0.1
"""Relative difference of the depths two pixels apart from which an edge lies between them."""


def rays(camera: Camera) -> Float[Tensor, "h w 3"]:
    """Directions of pixel centres in the camera's axes, z = 1."""
    K = camera.K
    x = (torch.arange(camera.width, device=K.device) + 0.5 - K[0, 2]) / K[0, 0]
    y = (torch.arange(camera.height, device=K.device) + 0.5 - K[1, 2]) / K[1, 1]
    down, across = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([across, down, torch.ones_like(across)], 2)


def normals_of_depth(
    depth: Float[Tensor, "h w"], camera: Camera, known: Bool[Tensor, "h w"]
) -> tuple[Float[Tensor, "h w 3"], Bool[Tensor, "h w"]]:
    """Unit normals (world axes, towards the camera) of the surface that a depth picture shows, by
    central differences, and where they are known; differentiable in the depth.

    Not known at the rim, beside pixels that are not `known`, and across edges.
    """
    points = rays(camera).to(depth) * depth[..., None]
    across = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    normals = normalize(torch.linalg.cross(down, across), dim=2)
    turned = normals @ camera.world_to_camera[:3, :3].to(normals)
    good = known & (depth.detach() > 0)
    inner = good[1:-1, 2:] & good[1:-1, :-2] & good[2:, 1:-1] & good[:-2, 1:-1] & good[1:-1, 1:-1]
    with torch.no_grad():
        most = JUMP * depth[1:-1, 1:-1]
        inner = inner & (across[..., 2].abs() < most) & (down[..., 2].abs() < most)
    return pad(turned, (0, 0, 1, 1, 1, 1)), pad(inner, (1, 1, 1, 1))
