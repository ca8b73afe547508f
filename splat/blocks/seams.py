"""The strip along the borders of blocks in pictures, and its PSNR."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.blocks.cells import Cell, members
from splat.types import Batch, Camera, Frame, Rendered

SOLID = 0.5
"""Least alpha of a pixel that counts; the place of others is not known."""
SHOWN = 0.01
"""Least share of a picture that the strip must have for its PSNR to count."""


def pixel_positions(camera: Camera, depth: Float[Tensor, "h w"]) -> Float[Tensor, "h w 3"]:
    """Pixels of a picture back-projected by their depth, in the frame of its camera; float64."""
    down, across = (torch.arange(n, dtype=torch.float64) + 0.5 for n in depth.shape)
    K, pose, z = (
        camera.K.double().cpu(),
        camera.world_to_camera.double().cpu(),
        depth.double().cpu(),
    )
    x = (across[None, :] - K[0, 2]) / K[0, 0] * z
    y = (down[:, None] - K[1, 2]) / K[1, 1] * z
    local = torch.stack([x, y, z], 2)
    return (local - pose[:3, 3]) @ pose[:3, :3]


def on_seam(
    rendered: Rendered, camera: Camera, cells: Sequence[Cell], width: float, frame: Frame
) -> Bool[Tensor, "h w"]:
    """Pixels that show what lies less than `width` of the ground from a border.

    Where cameras stand only: beyond, the ground is contracted, and a strip of it would be as wide
    as it is far. `rendered` is a picture with depth, from a camera of `frame`.
    """
    assert rendered.depth is not None
    places = pixel_positions(camera, rendered.depth).reshape(-1, 3)
    flat = cells[0].ground.flat(places, frame)
    near = (members(cells, flat, width).sum(1) > 1) & (flat.norm(dim=1) <= 1)
    solid = (rendered.alpha.detach().cpu() >= SOLID) & (rendered.depth.detach().cpu() > 0)
    seam: Bool[Tensor, "h w"] = near.reshape(solid.shape) & solid
    return seam


@dataclass
class Strip:
    """Sums over the strip's pixels of all pictures that were added."""

    squares: float = 0.0
    pixels: int = 0
    total: int = 0
    by_view: list[float] = field(default_factory=list)
    """PSNR of the strip in each view that shows enough of it, dB."""

    def add(self, image: Float[Tensor, "h w 3"], batch: Batch, seam: Bool[Tensor, "h w"]) -> None:
        """Add a picture, by the pixels of `seam` that count in its photo."""
        if batch.mask is not None:
            seam = seam & (batch.mask.cpu() != 0)
        self.total += seam.numel()
        if not bool(seam.any()):
            return
        error = (image.detach().clamp(0, 1) - batch.image).square().mean(2).cpu()[seam].double()
        self.squares += float(error.sum())
        self.pixels += len(error)
        if len(error) >= SHOWN * seam.numel():
            self.by_view.append(_decibels(float(error.mean())))

    def record(self) -> dict[str, float | int | None]:
        """PSNR in dB: the mean of views that show enough of the strip, as that of whole pictures
        is, and that of the mean error of all its pixels; the views, and its share of pixels."""
        finite = [value for value in self.by_view if math.isfinite(value)]
        return {
            "psnr": sum(finite) / len(finite) if finite else None,
            "psnr_of_pixels": _decibels(self.squares / self.pixels) if self.squares else None,
            "views": len(self.by_view),
            "share": self.pixels / self.total if self.total else 0.0,
        }


def _decibels(mean: float) -> float:
    return -10 * math.log10(mean) if mean > 0 else math.inf
