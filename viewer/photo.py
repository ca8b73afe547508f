"""Photographs warped to another camera, to compare with what a visitor sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from splat.types import Batch, Camera

HERE = 1e-4
"""Distance, frame of training, up to which a camera stands where the photograph was taken."""
SAME = 1e-6
"""Difference of times, in clips, within which they are one."""
HIDDEN = 0.03
"""Relative depth by which a point may lie behind what the photograph shows without being hidden."""


@dataclass(frozen=True)
class Warped:
    """A photograph warped to another camera."""

    image: Float[Tensor, "h w 3"]
    """RGB in [0, 1]."""
    shown: Bool[Tensor, "h w"]
    """Pixels that the photograph shows."""


def nearest(camera: Camera, cameras: Sequence[Camera]) -> int:
    """Index of the nearest camera: distance, frame of training, plus angle of view."""
    ahead = torch.stack([other.world_to_camera[2, :3] for other in cameras]).double()
    centres = torch.stack([other.centre for other in cameras]).double()
    own = camera.to(ahead.device)
    angle = (ahead @ own.world_to_camera[2, :3].double()).clamp(-1, 1).acos()
    return int(((centres - own.centre.double()).norm(dim=1) + angle).argmin())


def nearest_now(camera: Camera, cameras: Sequence[Camera]) -> int:
    """Index of the nearest camera among those of the time that is next to the camera's."""
    apart = [abs(other.time - camera.time) for other in cameras]
    now = [index for index, each in enumerate(apart) if each <= min(apart) + SAME]
    return now[nearest(camera, [cameras[index] for index in now])]


def same_place(one: Camera, other: Camera) -> bool:
    """Whether two cameras stand in one place, so that depth makes no difference."""
    return bool((one.centre - other.centre.to(one.centre.device)).norm() < HERE)


def warped(
    batch: Batch,
    camera: Camera,
    depth: Float[Tensor, "h w"] | None,
    behind: Float[Tensor, "hp wp"] | None,
) -> Warped:
    """The photograph warped to `camera`.

    `depth` is what the camera sees, 0 where nothing is; `behind` what the photograph's own camera
    sees of the same Gaussians, to tell what is hidden from it. Both None: the cameras stand in one
    place, and only turn.
    """
    device = batch.pixels.device
    pose = batch.camera.world_to_camera.double() @ torch.linalg.inv(
        camera.world_to_camera.double().to(device)
    )
    y, x = torch.meshgrid(
        torch.arange(camera.height, device=device) + 0.5,
        torch.arange(camera.width, device=device) + 0.5,
        indexing="ij",
    )
    K = camera.K.to(device)
    rays = torch.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], torch.ones_like(x)], -1)
    points = rays if depth is None else rays * depth[..., None]
    points = points @ pose[:3, :3].float().T
    if depth is not None:
        points = points + pose[:3, 3].float()
    z = points[..., 2]
    own, size = batch.camera.K, (batch.camera.width, batch.camera.height)
    u = (own[0, 0] * points[..., 0] / z + own[0, 2]) / size[0]
    v = (own[1, 1] * points[..., 1] / z + own[1, 2]) / size[1]
    shown = (z > 0) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
    grid = torch.stack([2 * u - 1, 2 * v - 1], -1).nan_to_num(2.0)
    image = _sampled(batch.image.permute(2, 0, 1), grid).permute(1, 2, 0)
    if depth is not None:
        shown &= depth > 0
    if behind is not None:
        there = _sampled(behind[None], grid)[0]
        shown &= (there <= 0) | (z <= there * (1 + HIDDEN))
    if batch.mask is not None:
        shown &= _sampled((batch.mask != 0).float()[None], grid)[0] > 0.5
    return Warped(image, shown)


def _sampled(maps: Float[Tensor, "c h w"], grid: Float[Tensor, "p q 2"]) -> Float[Tensor, "c p q"]:
    """Bilinear samples; the corners of the grid are those of the picture, not centres of pixels."""
    samples: Tensor = functional.grid_sample(
        maps[None], grid[None].to(maps.dtype), padding_mode="border", align_corners=False
    )
    return samples[0]
