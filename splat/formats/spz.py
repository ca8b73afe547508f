"""The `.spz` of Niantic (https://github.com/nianticlabs/spz): quantised and compressed.

Steps: positions 1/4096 from -2048 to 2048 (coarser in larger scenes), logarithms of scales 1/16
from -10 to 5.94, opacities 1/255, constant SH coefficients 0.026 from -3.33 to 3.33, those of the
first band 1/16 and the others 1/8 (with 5 and 4 bits) from -1 to 1. What is beyond is drawn to the
end of its range.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from splat.core.frame import finite
from splat.formats.limits import THINNEST
from splat.formats.order import spatial_order
from splat.formats.rows import Rows, harmonics, kept, rows_of, unit_quats
from splat.formats.settings import Settings
from splat.formats.spz_container import (
    ANTIALIASED,
    Header,
    axes_of,
    coefficients,
    header_of,
    most,
    packed,
    unpacked,
)
from splat.formats.spz_layout import AXES, REACH, WIDEST, Layout
from splat.formats.spz_streams import decode, encode, flipped, harmonics_rounded
from splat.system.files import replacing
from splat.types import Drawing, Gaussians

READS_SETTINGS = True
"""Whether `read` takes settings: files do not name their axes."""
_POINT = 12
"""Fractional bits of positions, where the scene is small enough."""
_NEAR = 0.999
"""Share of the Gaussians that is always written, however far the others are."""
_ROWS = 1 << 16
_log = logging.getLogger(__name__)


def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
) -> None:
    """Write Gaussians in spatial order, with what `settings` say of an .spz.

    Rows that hold NaN or infinite values are left out, with a warning. So are the furthest, one in
    a thousand at most, where all positions would else be coarse beside most of the Gaussians.
    Raises ValueError where the others are too far from the origin for the format.
    """
    _, parts = coded(rows_of(gaussians, path), path, drawing, settings)
    with replacing(path) as draft, draft.open("wb") as file:
        for part in parts:
            file.write(part)


def coded(
    rows: Rows, path: Path, drawing: Drawing, settings: Settings
) -> tuple[Rows, Iterator[bytes]]:
    """The rows that `write` writes, in no order, and the bytes of the file, a part after the
    other."""
    layout = _layout(rows.means, rows.log_scales, rows.degree, settings, path)
    rows = _fitting(rows, layout, path)
    header = Header(layout, len(rows), ANTIALIASED * drawing.antialiased)
    return rows, packed(header, _streams(rows, layout, settings))


def row_order(
    gaussians: Gaussians,
    path: Path,
    settings: Settings = Settings(),  # noqa: B008
) -> Int[Tensor, "m"]:
    """The rows of a finite set that `write` writes, in their order in the file."""
    rows = rows_of(gaussians, path)
    near = _near(rows, _layout(rows.means, rows.log_scales, rows.degree, settings, path))
    kept_rows = near.nonzero()[:, 0]
    return kept_rows[spatial_order(rows.means[kept_rows])]


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes at most; two or three times what is usual."""
    return most(n * sum(Layout(settings.spz_version, sh_degree, _POINT).widths))


def read(path: Path, settings: Settings = Settings()) -> Gaussians:  # noqa: B008
    """The Gaussians of a file, versions 1 to 4, along the axes of a .ply.

    Most files do not name their axes (Adobe's extension does). They are taken to be those that
    `settings` say; where that is wrong, the scene comes out turned by half a turn about x. Bands
    beyond the third are left out, with a warning.
    """
    contents = unpacked(path)
    layout, signs = contents.header.layout, axes_of(contents, path, settings)
    coefficients(contents.header, path)
    parts = [
        flipped(decode(part, layout), signs)
        for part in _parts(contents.streams, contents.header.n, layout)
    ]
    rows = Rows(*(torch.cat([getattr(p, field.name) for p in parts]) for field in fields(Rows)))
    gaussians = rows.gaussians()
    return kept(gaussians, finite(gaussians), path)


def drawing(path: Path) -> Drawing:
    """How the header says that the Gaussians are meant to be drawn."""
    return Drawing(antialiased=bool(header_of(path).flags & ANTIALIASED))


def quantiser(
    gaussians: Gaussians,
    settings: Settings = Settings(),  # noqa: B008
) -> Callable[[Gaussians], Gaussians]:
    """A function from a set to what is read back of it, row by row, along the axes that it has.

    Only the fractional bits are those of the set given here. Rows that `write` leaves out are drawn
    to the range.
    """
    fitted = kept(gaussians, finite(gaussians), Path("the set"))
    layout = _layout(fitted.means, _logarithms(fitted), 0, settings, Path("the set"))
    signs = AXES[settings.spz_axes]

    @torch.no_grad()
    def quantised(gaussians: Gaussians) -> Gaussians:
        rows = Rows(
            means=gaussians.means,
            log_scales=_logarithms(gaussians),
            quats=unit_quats(gaussians.quats),
            opacities=gaussians.opacities.clamp(0, 1),
            sh=harmonics(gaussians),
        )
        this = replace(layout, degree=rows.degree)
        # Harmonics are not rounded alike upwards and downwards: the file's axes count.
        streams = encode(flipped(rows, signs), this, settings.sh_bits)
        read_back = flipped(decode(streams, this), signs).gaussians()
        return replace(read_back, source=gaussians.source, features=gaussians.features)

    return quantised


def harmonics_grid(settings: Settings) -> Callable[[Tensor, int], Tensor]:
    """What is read back of values of a coefficient [n, 3], given its number from 1 up."""
    return lambda values, k: harmonics_rounded(values, k, settings.sh_bits)


def _layout(
    means: Float[Tensor, "n 3"],
    log_scales: Float[Tensor, "n 3"],
    degree: int,
    settings: Settings,
    path: Path,
) -> Layout:
    """The layout with as many fractional bits, up to `_POINT`, as positions leave room for."""
    if settings.spz_version not in (2, 3, 4):
        raise ValueError(f"spz_version is {settings.spz_version}; expected 2, 3 or 4")
    if not all(1 <= bits <= 8 for bits in settings.sh_bits):
        raise ValueError(f"spz_sh_bits are {settings.sh_bits}; expected two of 1 to 8")
    reach = means.abs().amax(1)
    point = _bits_beside(float(reach.max()))
    if point < 0 or _coarse(point, log_scales):
        point = _bits_beside(float(reach.kthvalue(math.ceil(_NEAR * len(reach))).values))
    if point < 0:
        raise ValueError(
            f"{path}: Gaussians lie {float(reach.max()):g} units from the origin, an .spz reaches"
            f" {REACH:,}; move the scene to the origin or write another format"
        )
    return Layout(settings.spz_version, degree, point)


def _bits_beside(reach: float) -> int:
    """Fractional bits that a number so large leaves; below 0 where it does not fit at all."""
    return min(_POINT, math.floor(math.log2(REACH / max(reach, 1.0))))


def _coarse(point: int, log_scales: Float[Tensor, "n 3"]) -> bool:
    """Whether most Gaussians may be moved by more than a quarter of their standard deviation."""
    return 2.0**-point / 2 > math.exp(float(log_scales.median())) / 4


def _logarithms(gaussians: Gaussians) -> Float[Tensor, "n 3"]:
    return gaussians.scales.detach().clamp_min(THINNEST).log()


def _fitting(rows: Rows, layout: Layout, path: Path) -> Rows:
    """The rows that are not too far out; warnings say what is lost."""
    n, furthest, step = len(rows), REACH / 2.0**layout.point, 2.0**-layout.point
    near = _near(rows, layout)
    if not near.all():
        _log.warning(
            "%s: %d of %d Gaussians lie further out than %g units and are left out, for the others"
            " to be rounded to %g",
            path, n - int(near.sum()), n, furthest, step,
        )  # fmt: skip
        rows = rows.take(near.nonzero()[:, 0])
    if _coarse(layout.point, rows.log_scales):
        _log.warning(
            "%s: positions are rounded to %g, which is coarse beside most of the Gaussians; scale"
            " the scene up, move it to the origin, or write another format",
            path, step,
        )  # fmt: skip
    wide = int((rows.log_scales > WIDEST + 1 / 32).any(1).sum())
    if wide:
        _log.warning(
            "%s: %d of %d Gaussians have standard deviations beyond %.0f units, the most an .spz"
            " holds, and are narrowed to it",
            path, wide, len(rows), math.exp(WIDEST),
        )  # fmt: skip
    return rows


def _near(rows: Rows, layout: Layout) -> Bool[Tensor, "n"]:
    """Which rows a layout has room for."""
    return rows.means.abs().amax(1) <= REACH / 2.0**layout.point


def _streams(rows: Rows, layout: Layout, settings: Settings) -> list[NDArray[np.uint8]]:
    order = spatial_order(rows.means)
    signs = AXES[settings.spz_axes]
    streams = [np.empty((len(rows), width), np.uint8) for width in layout.widths]
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        coded = encode(flipped(rows.take(order[part]), signs), layout, settings.sh_bits)
        for stream, values in zip(streams, coded, strict=True):
            stream[part] = values.numpy()
    return streams


def _parts(
    streams: Sequence[bytes | memoryview], n: int, layout: Layout
) -> Iterator[list[UInt8[Tensor, "m _"]]]:
    tables = [
        np.frombuffer(stream, np.uint8).reshape(n, width)
        for stream, width in zip(streams, layout.widths, strict=True)
    ]
    for start in range(0, n, _ROWS):
        # Copied, as tensors may be written to and what was read may not.
        yield [torch.from_numpy(table[start : start + _ROWS].copy()) for table in tables]
