"""The `.sog` of PlayCanvas (https://developer.playcanvas.com, "The SOG Format"), version 2.

Lossless images of quantised properties: positions of 16 bits, rotations of 26, scales and constant
coefficients in codebooks of 256 levels, and all other harmonics in a palette of up to 65,536
entries that Gaussians share. Codebooks and palette are fitted to what is written. A Gaussian takes
some 12 bytes, 2 more for its harmonics, and an entry of the palette 3 k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from splat.core.frame import finite
from splat.formats import sog_container
from splat.formats.codebook import averages, levels_of, palette_labels
from splat.formats.limits import LEVELS, THINNEST
from splat.formats.order import spatial_order
from splat.formats.rows import Rows, harmonics, kept, rows_of, unit_quats
from splat.formats.settings import Settings
from splat.formats.sog_meta import MOST_ENTRIES
from splat.formats.sog_texels import Levels, Texels, decode, encode, logarithms
from splat.system.files import replacing
from splat.types import Drawing, Gaussians

_STEP = 1024
"""Entries of a palette come in powers of two of these, from 1,024 Gaussians on."""


def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
) -> None:
    """Write Gaussians in spatial order, with codebooks and a palette made for them.

    Rows that hold NaN or infinite values are left out, with a warning. Most of the time goes into
    the palette: 20 seconds for a million Gaussians of degree 3 on two cores.
    """
    rows = rows_of(gaussians, path)
    rows = rows.take(spatial_order(rows.means))
    levels, texels = coded(rows, settings)
    with replacing(path) as draft:
        sog_container.write(draft, levels, texels, drawing)


def write_apart(rows: Rows, folder: Path, drawing: Drawing, settings: Settings) -> None:
    """Write rows in their order into a folder that is there: meta.json and images beside it."""
    sog_container.write_apart(folder, *coded(rows, settings), drawing)


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes at most; up to half more than is usual."""
    return sog_container.most(n, entries_of(n, settings), (sh_degree + 1) ** 2 - 1)


def read(path: Path) -> Gaussians:
    """The Gaussians of a file, versions 1 and 2, or of a folder, given its meta.json."""
    levels, texels = sog_container.read(path)
    gaussians = decode(texels, levels).gaussians()
    # Levels are finite, so the coefficients need no look.
    return kept(gaussians, finite(replace(gaussians, colors=gaussians.colors[:, 0])), path)


def drawing(path: Path) -> Drawing:
    """How the file says that its Gaussians are meant to be drawn."""
    return sog_container.drawing(path)


def quantiser(
    gaussians: Gaussians,
    settings: Settings = Settings(),  # noqa: B008
) -> Callable[[Gaussians], Gaussians]:
    """A function from a set to what is read back of it, row by row.

    Bounds, codebooks and which rows share an entry of the palette are those of the set given here,
    and the entries are the means over these rows as they are then. Expects finite values.
    """
    rows = rows_of(gaussians, Path("the set"))
    order = spatial_order(rows.means)
    fit = _fitted(rows.take(order), settings)
    device = gaussians.means.device
    levels, labels = fit.levels.to(device), None
    if fit.labels is not None:
        labels = torch.empty_like(fit.labels).index_copy_(0, order, fit.labels).to(device)

    @torch.no_grad()
    def quantised(given: Gaussians) -> Gaussians:
        rows = Rows(
            means=given.means,
            log_scales=given.scales.clamp_min(THINNEST).log(),
            quats=unit_quats(given.quats),
            opacities=given.opacities.clamp(0, 1),
            sh=harmonics(given),
        )
        read_back = decode(encode(rows, levels, labels, fit.entries), levels).gaussians()
        return replace(read_back, source=given.source, features=given.features)

    return quantised


def coded(rows: Rows, settings: Settings) -> tuple[Levels, Texels]:
    """Rows as images hold them, with codebooks and a palette fitted to them."""
    fit = _fitted(rows, settings)
    return fit.levels, encode(rows, fit.levels, fit.labels, fit.entries)


@dataclass(frozen=True)
class _Fit:
    """Codebooks and palette fitted to a set."""

    levels: Levels
    labels: Int[Tensor, "n"] | None
    """Rows that share an entry of the palette; None where there are no harmonics."""
    entries: int
    """Number of entries of the palette."""


@torch.no_grad()
def _fitted(rows: Rows, settings: Settings) -> _Fit:
    positions = logarithms(rows.means)
    labels, levels, entries = None, None, 0
    if rows.degree:
        vectors = rows.sh[:, 1:]
        labels = palette_labels(vectors, entries_of(len(rows), settings), settings.seed)
        entries = int(labels.max()) + 1
        levels = levels_of(averages(vectors, labels, entries))
    return _Fit(
        Levels(
            bounds=torch.stack([positions.amin(0), positions.amax(0)]),
            log_scales=levels_of(rows.log_scales)[:, None].expand(-1, 3),
            constant=levels_of(rows.sh[:, 0])[:, None].expand(-1, 3),
            opacities=torch.arange(LEVELS) / (LEVELS - 1),
            harmonics=levels,
        ),
        labels,
        entries,
    )


def entries_of(n: int, settings: Settings) -> int:
    """Entries of the palette at most: a quarter of what splat-transform has, unless `settings` say.

    With all of them an entry has one or two rows, and the palette is most of the file.
    """
    if not 0 <= settings.sog_palette <= MOST_ENTRIES:
        raise ValueError(
            f"a palette of a .sog has 1 to {MOST_ENTRIES:,} rows, not {settings.sog_palette:,};"
            " 0 chooses their number"
        )
    if settings.sog_palette or n < _STEP:
        return min(n, settings.sog_palette or n)
    whole = _STEP << (n // _STEP).bit_length() - 1
    return min(MOST_ENTRIES, max(_STEP, whole // 4))
