"""Rows as formats write them: finite, on the CPU, stored values instead of drawn ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from splat.core.frame import finite
from splat.formats.columns import Columns, Moving
from splat.formats.limits import THINNEST, check_kept
from splat.math import sh_from_rgb
from splat.types import Drawing, Gaussians


@dataclass(frozen=True)
class Rows:
    """Gaussians ready to be coded: float32 on the CPU, contiguous, every value finite."""

    means: Float[Tensor, "n 3"]
    log_scales: Float[Tensor, "n 3"]
    """Natural logarithms of the standard deviations."""
    quats: Float[Tensor, "n 4"]
    """(w, x, y, z), unit."""
    opacities: Float[Tensor, "n"]
    """Within [0, 1]."""
    sh: Float[Tensor, "n k 3"]
    """Coefficients, the constant one first; k = (degree + 1)^2."""

    def __len__(self) -> int:
        return len(self.means)

    @property
    def degree(self) -> int:
        """Highest band."""
        return math.isqrt(self.sh.shape[1]) - 1

    def take(self, order: Tensor) -> Rows:
        """These rows, in this order."""
        return Rows(*(getattr(self, field.name).index_select(0, order) for field in fields(self)))

    def gaussians(self) -> Gaussians:
        """The rows as Gaussians to draw."""
        return Gaussians(
            means=self.means,
            quats=self.quats,
            scales=self.log_scales.exp(),
            opacities=self.opacities,
            colors=self.sh,
            sh_degree=self.degree,
        )


@torch.no_grad()
def rows_of(gaussians: Gaussians, path: Path) -> Rows:
    """What is written of a set; rows with NaN or infinite values are left out, with a warning.

    Raises ValueError where nothing is left, naming `path`.
    """
    gaussians = kept(gaussians, finite(gaussians), path)
    return Rows(
        means=gaussians.means.detach().float().cpu().contiguous(),
        log_scales=gaussians.scales.detach().float().clamp_min(THINNEST).log().cpu().contiguous(),
        quats=unit_quats(gaussians.quats.detach().float()).cpu().contiguous(),
        opacities=gaussians.opacities.detach().float().clamp(0, 1).cpu().contiguous(),
        sh=harmonics(gaussians).detach().float().cpu().contiguous(),
    )


def gaussians_of(columns: Columns, *, unit: bool = False) -> Gaussians:
    """The set that NumPy's arrays hold, with unit quaternions; `unit`: they are so already."""
    assert columns.quats is not None and columns.moving is None
    quats = torch.from_numpy(columns.quats)
    return Gaussians(
        means=torch.from_numpy(columns.means),
        quats=quats if unit else unit_quats(quats),
        scales=torch.from_numpy(columns.scales),
        opacities=torch.from_numpy(columns.opacities),
        colors=torch.from_numpy(columns.sh),
        sh_degree=columns.sh_degree,
    )


def columns_of(gaussians: Gaussians, drawing: Drawing) -> Columns:
    """A finite set on the CPU, and how it is drawn, as NumPy's arrays."""
    motion = gaussians.motion
    return Columns(
        means=gaussians.means.numpy(),
        scales=gaussians.scales.numpy(),
        opacities=gaussians.opacities.numpy(),
        sh=harmonics(gaussians).numpy(),
        quats=gaussians.quats.numpy(),
        moving=None
        if motion is None
        else Moving(motion.time.numpy(), motion.duration.numpy(), motion.velocity.numpy()),
        antialiased=drawing.antialiased,
        near=drawing.near,
    )


def harmonics(gaussians: Gaussians) -> Float[Tensor, "n k 3"]:
    """Coefficients of the bands in use; plain colours become the constant one."""
    if gaussians.sh_degree is None:
        return sh_from_rgb(gaussians.colors)[:, None]
    return gaussians.colors[:, : (gaussians.sh_degree + 1) ** 2]


def unit_quats(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Unit quaternions; one without a length becomes no rotation."""
    length = quats.norm(dim=1, keepdim=True)
    unit = quats.new_tensor([1.0, 0.0, 0.0, 0.0])
    # What is no number stays one, to be left out by `kept`.
    return normalize(quats.where(length != 0, unit), dim=1)


def kept(gaussians: Gaussians, keep: Bool[Tensor, "n"], path: Path) -> Gaussians:
    """The rows to keep of what a file holds or is to hold; a warning says what was left out."""
    check_kept(int(keep.sum()), len(keep), path)
    return gaussians if keep.all() else gaussians.take(keep)
