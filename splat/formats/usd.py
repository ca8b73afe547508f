"""USD (`.usd`, `.usda`, `.usdc`, `.usdz`) with `ParticleField3DGaussianSplat` of OpenUSD 26.03.

One prim, whose attributes are arrays of float32: positions, linear scales, orientations (w, x, y,
z), opacities, and harmonics row by row, the constant one first. The stage is y-up, as in glTF, so
that rows are turned by half a turn about z; its unit counts as a metre. It takes Pixar's `usd-core`
(`pip install 'splat-toolkit[usd]'`); without it the formats are not there.
"""

from __future__ import annotations

from pathlib import Path

import torch

from splat.core.frame import finite
from splat.formats.columns import Columns
from splat.formats.gltf_table import UP, placing_of, unit
from splat.formats.rows import gaussians_of, harmonics, kept
from splat.formats.settings import Settings
from splat.formats.usd_table import columns, drawn
from splat.system.files import drafted, replacing, sweep_drafts
from splat.types import Drawing, Gaussians

OVERHEAD = 1 << 14
"""Bytes of a file beside its arrays, at most."""


@torch.no_grad()
def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
) -> None:
    """Write Gaussians as they are, 44 + 12 k bytes each for k SH coefficients.

    Rows that hold NaN or infinite values are left out, with a warning.
    """
    from splat.formats.usd_written import write_package, write_stage

    del settings
    gaussians = kept(gaussians, finite(gaussians), path)
    part = placing_of(UP).placed(
        Columns(
            means=gaussians.means.float().cpu().numpy(),
            scales=gaussians.scales.float().cpu().numpy(),
            opacities=gaussians.opacities.float().cpu().clamp(0, 1).numpy(),
            sh=harmonics(gaussians).float().cpu().numpy(),
            quats=unit(gaussians.quats.float().cpu().numpy()),
        )
    )
    with replacing(path) as draft:
        if path.suffix.lower() != ".usdz":
            write_stage(draft, part, drawing)
            return
        # A package holds a file by its name, which is then the same whoever writes it.
        inner = path.with_name(f"{path.stem}.usdc")
        sweep_drafts(inner)
        with drafted(inner) as layer:
            write_stage(layer, part, drawing)
            write_package(layer, draft, inner.name)


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes at most, binary."""
    del settings
    return OVERHEAD + n * 4 * (11 + 3 * (sh_degree + 1) ** 2)


def read(path: Path) -> Gaussians:
    """The Gaussians of a stage, placed as its prims are, and turned from its up axis.

    A file that refers to others is refused: they would be read, wherever they lie.
    """
    gaussians = gaussians_of(columns(path), unit=True)
    return kept(gaussians, finite(gaussians), path)


def drawing(path: Path) -> Drawing:
    """How the file says that its Gaussians are meant to be drawn."""
    return Drawing(*drawn(path))
