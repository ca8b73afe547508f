"""The `.splat` of antimatter15's viewer: 32 bytes a Gaussian without a header, one colour each.

Position and standard deviations are float32; red, green, blue, opacity and the quaternion
(w, x, y, z) are bytes. The largest and most opaque come first, for viewers that draw what has
arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.frame import finite
from splat.formats.rows import harmonics, kept, rows_of, unit_quats
from splat.formats.settings import Settings
from splat.formats.splat_table import RECORD, records
from splat.math import rgb_from_sh, sh_from_rgb
from splat.system.files import replacing
from splat.types import Drawing, Gaussians

MOST_DEGREE = 0
"""Highest degree of harmonics that is stored."""


def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
) -> None:
    """Write Gaussians without what depends on the direction, by falling size and opacity.

    Rows that hold NaN or infinite values are left out, with a warning.
    """
    del drawing, settings
    rows = rows_of(gaussians, path)
    weight = rows.log_scales.sum(1) + rows.opacities.log()
    rows = replace(rows, sh=rows.sh[:, :1]).take(weight.argsort(descending=True, stable=True))
    table = np.empty(len(rows), RECORD)
    table["mean"], table["scale"] = rows.means.numpy(), rows.log_scales.exp().numpy()
    table["color"] = _color_bytes(rows.sh[:, 0], rows.opacities).numpy()
    table["quaternion"] = _quaternion_bytes(rows.quats).numpy()
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(table.data)


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes, of any degree."""
    del sh_degree, settings
    return n * RECORD.itemsize


def read(path: Path) -> Gaussians:
    """The Gaussians of a file; rows with NaN or infinite values are left out, with a warning."""
    table = records(path)
    colors, quats = (torch.from_numpy(table[name].copy()) for name in ("color", "quaternion"))
    gaussians = Gaussians(
        means=torch.from_numpy(table["mean"].copy()),
        quats=_quats(quats),
        # The sign of an axis does not show.
        scales=torch.from_numpy(np.abs(table["scale"])),
        opacities=colors[:, 3] / 255,
        colors=_constant(colors),
        sh_degree=0,
    )
    return kept(gaussians, finite(gaussians), path)


def quantiser(
    gaussians: Gaussians,
    settings: Settings = Settings(),  # noqa: B008
) -> Callable[[Gaussians], Gaussians]:
    """What is read back of a set, on the device it is on."""
    del gaussians, settings
    return _quantised


@torch.no_grad()
def _quantised(given: Gaussians) -> Gaussians:
    colors = _color_bytes(harmonics(given)[:, 0], given.opacities)
    return Gaussians(
        means=given.means,
        quats=_quats(_quaternion_bytes(unit_quats(given.quats))),
        scales=given.scales,
        opacities=colors[:, 3] / 255,
        colors=_constant(colors),
        sh_degree=0,
    )


def _color_bytes(constant: Float[Tensor, "n 3"], opacities: Float[Tensor, "n"]) -> Tensor:
    return _bytes(torch.cat([rgb_from_sh(constant), opacities[:, None]], dim=1) * 255)


def _quaternion_bytes(quats: Float[Tensor, "n 4"]) -> Tensor:
    return _bytes(quats * 128 + 128)


def _bytes(values: Float[Tensor, "n m"]) -> Tensor:
    return (values + 0.5).clamp(0, 255).to(torch.uint8)


def _constant(colors: Tensor) -> Float[Tensor, "n 1 3"]:
    return sh_from_rgb(colors[:, None, :3] / 255)


def _quats(quaternions: Tensor) -> Float[Tensor, "n 4"]:
    return unit_quats((quaternions.float() - 128) / 128)
