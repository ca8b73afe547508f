"""Frustum culling of leaves, and the level of detail at which each is drawn."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.lod.levels import Levels
from splat.types import Camera

_SIGMAS = 3.34
"""Standard deviations beyond which no Gaussian reaches 1/255: sqrt(2 ln 255), and a little."""
_BLUR = 4.0
"""Pixels that the low-pass filter adds to it, and the rounding to whole ones; more than enough."""
_WIDEST = 1.3
"""Directions count as no further from the axis, in half widths, where a Gaussian is projected."""
_NEAREST = 0.25
"""Least distance of the eye to a leaf, in sizes of the leaf."""


def leaves_in_frustum(levels: Levels, camera: Camera, near: float) -> Bool[Tensor, "m"]:
    """Frustum culling: leaves some Gaussian of which may show; the others show nothing.

    `near` is the depth from which Gaussians are drawn. Each side of the picture, widened by what
    the largest Gaussian of the leaf covers, is a half-space of centres; a leaf whose eight corners
    lie outside one of them shows nothing.
    """
    x, y, z = _corners(levels, camera).unbind(-1)
    (fx, _, cx), (_, fy, cy), _ = camera.K.double().tolist()
    width, height = camera.width, camera.height
    lean = 1.0 + (_WIDEST * max(cx, width - cx) / fx) ** 2
    lean += (_WIDEST * max(cy, height - cy) / fy) ** 2
    pad = _SIGMAS * max(fx, fy) * lean**0.5 * levels.reach.double()[:, None]
    # Times the depth: none of these needs the quotient.
    sides = [
        fx * x + (cx + _BLUR) * z + pad,
        fy * y + (cy + _BLUR) * z + pad,
        (width - cx + _BLUR) * z - fx * x + pad,
        (height - cy + _BLUR) * z - fy * y + pad,
    ]
    shown = (z > near).any(1)
    for side in sides:
        shown &= (side >= 0).any(1)
    return shown


def distances(levels: Levels, camera: Camera) -> Float[Tensor, "m"]:
    """Distance of the camera to the box of each leaf, no less than a quarter of its size: where the
    eye is in a leaf, most of what lies in it is about as far away. float64."""
    pose = camera.world_to_camera.double().cpu()
    eye = -pose[:3, :3].T @ pose[:3, 3]
    low, high = levels.low.double(), levels.high.double()
    nearest = (high - low).norm(dim=1) * _NEAREST
    away: Float[Tensor, "m"] = (eye - eye.maximum(low).minimum(high)).norm(dim=1)
    return away.maximum(nearest)


def chosen_levels(
    levels: Levels, shown: Bool[Tensor, "m"], camera: Camera, budget: int
) -> Int[Tensor, "m"]:
    """The level of each leaf, such that those shown have at most `budget` rows where they can.

    The screen-space error is the same for all: a leaf is drawn at the coarsest level that is off by
    no more pixels than a number, and that number is as small as the budget lets it be. Where the
    coarsest levels have more rows than that, these are what is drawn.
    """
    focal = float(camera.K.double()[:2, :2].diagonal().max())
    off = focal * levels.errors.double() / distances(levels, camera).clamp_min(1e-12)
    counts = levels.counts

    def level(most: float) -> Int[Tensor, "m"]:
        # Errors rise with the level, so those within a number are the first ones.
        coarsest: Int[Tensor, "m"] = (off <= most).sum(0) - 1
        return coarsest

    def rows(most: float) -> int:
        return int((counts.gather(0, level(most)[None])[0] * shown).sum())

    # The number is 0 or one of the errors; the first of them that is enough.
    numbers = torch.cat([off.new_zeros(1), off[1:, shown].flatten().sort().values]).tolist()
    low, high = 0, len(numbers) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if rows(numbers[middle]) <= budget else (middle + 1, high)
    return level(numbers[low])


def _corners(levels: Levels, camera: Camera) -> Float[Tensor, "m 8 3"]:
    """Corners of the box around each leaf, in the frame of the camera; float64."""
    ends = torch.stack([levels.low, levels.high], 1).double()
    sides = torch.cartesian_prod(*[torch.arange(2)] * 3)
    world = torch.stack([ends[:, sides[:, axis], axis] for axis in range(3)], -1)
    pose = camera.world_to_camera.double().cpu()
    corners: Float[Tensor, "m 8 3"] = world @ pose[:3, :3].T + pose[:3, 3]
    return corners
