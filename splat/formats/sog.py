"""The `.sog` of PlayCanvas (https://developer.playcanvas.com, "The SOG Format"), version 2.

Lossless images of quantised properties: positions of 16 bits, rotations of 26, scales and constant
coefficients in codebooks of 256 levels, and all other harmonics in a palette of up to 65,536
entries that Gaussians share. Codebooks and palette are fitted to what is written. A Gaussian takes
some 12 bytes, 2 more for its harmonics, and an entry of the palette 3 k.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.core.frame import finite
from splat.formats import sog_container
from splat.formats.codebook import (
    averages,
    cheap_labels,
    even_levels,
    levels_of,
    palette_labels,
    shared_labels,
)
from splat.formats.limits import LEVELS, THINNEST
from splat.formats.order import spatial_order
from splat.formats.rows import Rows, harmonics, kept, rows_of, unit_quats
from splat.formats.settings import Settings
from splat.formats.sog_meta import MOST_ENTRIES
from splat.formats.sog_texels import Levels, Multiples, Texels, decode, encode, logarithms
from splat.system.files import replacing
from splat.types import Drawing, Gaussians

TAKES_WEIGHTS = True
_MOST_BITS, _OF = (16, 8, 8, 8, 8), ("positions", "rotations", "scales", "colours", "opacities")
_SCALES, _COLORS = 16.0, 8.0
"""Ranges that the bits of `sog_bits` divide, of logarithms of scales and of constant coefficients:
about those that an .spz has, and powers of two, which are written with few digits."""
_FINER = 2
"""Steps of the palette in a step of colours: an entry's error is that of many rows."""
_STEP = 1024
"""Entries of a palette come in powers of two of these, from 1,024 Gaussians on."""


def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
    weights: Float[Tensor, "n"] | None = None,
) -> None:
    """Write Gaussians in spatial order, with codebooks and a palette made for them.

    `weights` is how much of each row views see, for a palette that takes little room (`sog_bits`).

    Rows that hold NaN or infinite values are left out, with a warning. Most of the time goes into
    the palette: 20 seconds for a million Gaussians of degree 3 on two cores.
    """
    rows = rows_of(gaussians, path)
    weights = weights_of(gaussians, weights)
    order = spatial_order(rows.means)
    levels, texels = coded(rows.take(order), settings, weights[order])
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
    weights: Float[Tensor, "n"] | None = None,
    before: Callable[[Gaussians], Gaussians] | None = None,
) -> Callable[[Gaussians], Gaussians]:
    """A function from a set to what is read back of it, row by row; `weights` as for `write`.

    Bounds, codebooks and which rows share an entry of the palette are those of the set given here,
    and the entries are the means over these rows as they are then. Expects finite values. With
    `before`, what was made for the same rows earlier, rows share an entry as they did then: while
    they are trained each goes its own way, and only the mean of those that share one is drawn.
    """
    rows = rows_of(gaussians, Path("the set"))
    order = spatial_order(rows.means)
    weights = weights_of(gaussians, weights)
    labels = before.labels if isinstance(before, _Quantised) else None
    if labels is not None:
        labels = labels.cpu()[order]
    fit = _fitted(rows.take(order), settings, weights[order], labels)
    device = gaussians.means.device
    if fit.labels is not None:
        labels = torch.empty_like(fit.labels).index_copy_(0, order, fit.labels).to(device)
    return _Quantised(fit, fit.levels.to(device), labels, weights.to(device))


@dataclass(frozen=True)
class _Quantised:
    """A quantisation that was fitted to a set."""

    fit: _Fit
    levels: Levels
    labels: Int[Tensor, "n"] | None
    """In the order of the set, on its device, as are the weights."""
    weights: Float[Tensor, "n"]

    @torch.no_grad()
    def __call__(self, given: Gaussians) -> Gaussians:
        rows = Rows(
            means=given.means,
            log_scales=given.scales.clamp_min(THINNEST).log(),
            quats=unit_quats(given.quats),
            opacities=given.opacities.clamp(0, 1),
            sh=harmonics(given),
        )
        fit, weights = self.fit, self.weights
        texels = encode(rows, self.levels, self.labels, fit.entries, fit.multiples, weights)
        read_back = decode(texels, self.levels).gaussians()
        return replace(read_back, source=given.source, features=given.features)


def coded(
    rows: Rows, settings: Settings, weights: Float[Tensor, "n"] | None = None
) -> tuple[Levels, Texels]:
    """Rows as images hold them, with codebooks and a palette fitted to them."""
    weights = torch.ones(len(rows)) if weights is None else weights
    fit = _fitted(rows, settings, weights)
    return fit.levels, encode(rows, fit.levels, fit.labels, fit.entries, fit.multiples, weights)


def weights_of(
    gaussians: Gaussians, weights: Float[Tensor, "n"] | None = None
) -> Float[Tensor, "m"]:
    """The weights of those rows that are written, on the CPU; None: all count alike."""
    if weights is None:
        weights = torch.ones(len(gaussians))
    return weights.detach().float().cpu()[finite(gaussians).cpu()]


@dataclass(frozen=True)
class _Fit:
    """Codebooks and palette fitted to a set."""

    levels: Levels
    labels: Int[Tensor, "n"] | None
    """Rows that share an entry of the palette; None where there are no harmonics."""
    entries: int
    """Number of entries of the palette."""
    multiples: Multiples


@torch.no_grad()
def _fitted(
    rows: Rows,
    settings: Settings,
    weights: Float[Tensor, "n"],
    labels: Int[Tensor, "n"] | None = None,
) -> _Fit:
    """`labels` None: those of a palette for these rows."""
    positions = logarithms(rows.means)
    levels, entries = None, 0
    _, _, scale_step, color_step, _ = steps = steps_of(settings)
    if rows.degree:
        vectors = rows.sh[:, 1:]
        if labels is None:
            labels = _labels(rows, settings, weights, color_step)
        entries = int(labels.max()) + 1
        levels = _levels(averages(vectors, labels, entries, weights), color_step / _FINER)
    return _Fit(
        Levels(
            bounds=torch.stack([positions.amin(0), positions.amax(0)]),
            log_scales=_levels(rows.log_scales, scale_step)[:, None].expand(-1, 3),
            constant=_levels(rows.sh[:, 0], color_step)[:, None].expand(-1, 3),
            opacities=torch.arange(LEVELS) / (LEVELS - 1),
            harmonics=levels,
        ),
        labels,
        entries,
        Multiples(int(steps[0]), int(steps[1]), int(steps[4])),
    )


def _labels(
    rows: Rows, settings: Settings, weights: Float[Tensor, "n"], color_step: float
) -> Int[Tensor, "n"]:
    """Which rows share an entry of the palette."""
    vectors, most = rows.sh[:, 1:], entries_of(len(rows), settings)
    if most < len(rows) and (labels := shared_labels(vectors, most)) is not None:
        return labels
    labels = palette_labels(vectors, most, settings.seed)
    if color_step:
        labels = cheap_labels(vectors, labels, weights / weights.mean(), _slope(color_step))
    return labels


def _levels(values: Float[Tensor, "..."], step: float) -> Float[Tensor, "256"]:
    """Levels by k-means, or even ones of a step."""
    return even_levels(values, step) if step else levels_of(values)


def steps_of(settings: Settings) -> tuple[float, float, float, float, float]:
    """Steps of positions, rotations, scales, colours and opacities: of codes, or of values; 0: a
    codebook."""
    if settings.sog_bits is None:
        return 1, 1, 0, 0, 1
    for bits, most, what in zip(settings.sog_bits, _MOST_BITS, _OF, strict=True):
        if not 1 <= bits <= most:
            raise ValueError(f"sog-bits has {bits} for {what}; expected 1 to {most}")
    position, rotation, scale, color, opacity = settings.sog_bits
    return (
        1 << 16 - position,
        1 << 8 - rotation,
        _SCALES / (1 << scale),
        _COLORS / (1 << color),
        1 << 8 - opacity,
    )


def _slope(step: float) -> float:
    """Squared error that a bit is worth where numbers lie on even steps: D = step^2 / 12 halves
    twice for each bit, so that -dD/dR = 2 ln 2 D."""
    return math.log(2) / 6 * step**2


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
