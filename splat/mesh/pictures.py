"""Depth pictures of a set of Gaussians, with the confidence of each pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from splat.types import Camera, Gaussians, Needs, Renderer

OPAQUE = 0.5
"""Least alpha of a pixel that shows a surface."""


@dataclass(frozen=True)
class Picture:
    """Depth and colour of surfaces as a camera sees them."""

    camera: Camera
    depth: Float[Tensor, "h w"]
    """Camera z of what is seen through a pixel's centre, units of the camera's frame."""
    weight: Float[Tensor, "h w"]
    """Confidence of the pixel against others that see the same: usually 1, 0 where it does not
    count."""
    colors: Float[Tensor, "h w 3"]
    """RGB in [0, 1]."""


@torch.no_grad()
def depth_picture(
    gaussians: Gaussians,
    camera: Camera,
    render: Renderer,
    background: Float[Tensor, "3"] | None,
    tolerance: float,
) -> Picture:
    """Render depth and colour. Pixels that are more than half transparent do not count.

    Depth is the mean over what is blended in a pixel; where that lies at different depths, as along
    outlines, the mean is in between, where nothing is. So a pixel weighs 1 / (1 + v / t^2), v being
    the variance of the depths blended there and t `tolerance`, units of the camera's frame.
    """
    pose = camera.world_to_camera
    z = gaussians.means @ pose[2, :3] + pose[2, 3]
    seen = replace(gaussians, features=torch.stack([z, z * z], 1))
    rendered = render(seen, camera, Needs(), background)
    assert rendered.features is not None
    alpha = rendered.alpha
    mean, square = (rendered.features / alpha.clamp_min(1e-6)[..., None]).unbind(-1)
    variance = (square - mean * mean).clamp_min(0)
    weight = (alpha >= OPAQUE) / (1 + variance / tolerance**2)
    return Picture(camera, mean, weight, rendered.image.clamp(0, 1))
