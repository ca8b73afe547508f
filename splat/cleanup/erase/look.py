"""What a camera sees once rows are gone: what is left, and where nobody has ever seen it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.types import Camera, Gaussians, Needs, Renderer

_LOST = 0.2
"""Share of a pixel that erased rows had, from which on the pixel shows something else now."""
_TRUSTED = 0.8
"""Share of a pixel that must be of rows seen in photos; else there is a hole."""
_KNOWN = 0.3
"""Share of a row's blending weight that it had before anything was erased, from which on photos
have seen it."""
_RIM = 2
"""Pixels that holes are grown by: their edges are a mixture."""
_SMALLEST = 12
"""Pixels of a hole that is worth filling."""
_SPREAD = 0.2
"""Share of the depth by which depths blended in a pixel may differ; beyond, it tells nothing."""


@dataclass(frozen=True)
class Look:
    """A view of the rows that are left, on the CPU."""

    camera: Camera
    colors: Float[np.ndarray, "h w 3"]
    """RGB in [0, 1]."""
    depth: Float[np.ndarray, "h w"]
    """Camera z; infinite where there is nothing, NaN where it is a mixture or never was seen."""
    hole: Bool[np.ndarray, "h w"]
    """What is gone was seen here, and what is behind it was not."""


@torch.no_grad()
def photographed_rows(
    whole: Gaussians,
    keep: Bool[Tensor, "n"],
    cameras: Sequence[Camera],
    render: Renderer,
    background: Float[Tensor, "3"] | None = None,
    shown: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Bool[Tensor, "m"]:
    """Rows to keep that photos have seen: those with enough blending weight before the erasure."""
    left = whole.take(keep)
    before = torch.zeros(len(left), dtype=torch.float64, device=left.means.device)
    after = before.clone()
    for i in shown(range(len(cameras))):
        before += render.survey(whole, cameras[i], background)[1].mass[keep]
        after += render.survey(left, cameras[i], background)[1].mass
    return before >= _KNOWN * after


@torch.no_grad()
def view_without(
    whole: Gaussians,
    keep: Bool[Tensor, "n"],
    trusted: Bool[Tensor, "m"],
    camera: Camera,
    render: Renderer,
    background: Float[Tensor, "3"] | None = None,
) -> Look:
    """Draw the rows to keep for a camera; `trusted` are those of them that photos have seen."""
    gone = replace(whole, features=(~keep).float()[:, None])
    lost = render(gone, camera, Needs(), background).features
    left = whole.take(keep)
    pose = camera.world_to_camera
    z = left.means @ pose[2, :3] + pose[2, 3]
    seen = replace(left, features=torch.stack([z, z * z, trusted.float()], 1))
    drawn = render(seen, camera, Needs(), background)
    assert lost is not None and drawn.features is not None
    alpha = drawn.alpha
    total, square, sure = drawn.features.unbind(-1)
    mean = total / alpha.clamp_min(1e-6)
    variance = (square / alpha.clamp_min(1e-6) - mean * mean).clamp_min(0)
    hole = _whole((lost[..., 0] > _LOST) & (sure < _TRUSTED))
    mixed = (variance.sqrt() > _SPREAD * mean) | (sure < _TRUSTED * alpha)
    depth = mean.where(~mixed, torch.nan).where(alpha >= 0.5, torch.inf).cpu().numpy()
    depth[hole] = np.nan
    return Look(camera.to("cpu"), drawn.image.clamp(0, 1).cpu().numpy(), depth, hole)


def _whole(hole: Bool[Tensor, "h w"]) -> Bool[np.ndarray, "h w"]:
    """A hole without specks, grown by its edges."""
    mask = hole.to(torch.uint8).cpu().numpy()
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= _SMALLEST)
    kept = np.isin(labels, large[large > 0]).astype(np.uint8)
    side = 2 * _RIM + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(kept, disc) > 0)
