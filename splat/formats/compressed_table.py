"""The tables of a `.compressed.ply`, and its rows as NumPy has them."""

from __future__ import annotations

from itertools import product, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splat.formats import chunks
from splat.formats.columns import Columns
from splat.formats.header import BINARY, Header, Table
from splat.formats.limits import CHUNK

_BOUNDS = tuple(
    f"float {end}_{name}"
    for names in (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
    for end, name in product(("min", "max"), names)
)
_OLD_BOUNDS = _BOUNDS[:12]
"""Columns of the bounds in old files, which lack those of colours: they are 0 and 1."""
_WORDS = tuple(f"uint packed_{name}" for name in ("position", "rotation", "scale", "color"))


def columns(path: Path) -> Columns:
    """What the rows hold, finite or not."""
    antialiased, near = Header.of(path).drawn
    means, log_scales, quats, opacities, sh = chunks.decode(coded(path))
    with np.errstate(all="ignore"):
        scales = np.exp(log_scales)
    return Columns(means, scales, opacities, sh, quats, antialiased=antialiased, near=near)


def coded(path: Path) -> chunks.Coded:
    """What a file holds, once its header and its length are as they must be."""
    n, k, bounds, start = _layout(path)
    with path.open("rb") as file:
        file.seek(start)
        return chunks.Coded(
            bounds=_with_colors(
                np.fromfile(file, "<f4", bounds * _chunks(n)).reshape(-1, bounds // 6, 2, 3)
            ),
            words=np.fromfile(file, "<u4", 4 * n).reshape(n, 4),
            rest=np.fromfile(file, np.uint8, 3 * (k - 1) * n).reshape(n, 3, k - 1),
        )


class _Layout(NamedTuple):
    """Counts of a file, and where its data begin."""

    n: int
    """Number of Gaussians."""
    k: int
    """SH coefficients a channel."""
    bounds: int
    """Number of columns of `chunk`."""
    start: int
    """Bytes of the header."""


def _layout(path: Path) -> _Layout:
    """The layout of a file, once its header and its length are as they must be."""
    header = Header.of(path)
    # gsplat writes an element `sh` without columns where there are no harmonics.
    there = [table for table in header.tables if table.columns]
    by_name = {table.name: table for table in there}
    columns = {name: len(table.columns) for name, table in by_name.items()}
    if "vertex" not in by_name:
        raise ValueError(f"{path} has no element 'vertex'; fetch or export it again")
    n = by_name["vertex"].count
    k = {9: 4, 24: 9, 45: 16}.get(columns.get("sh", 0), 1)
    bounds = _OLD_BOUNDS if columns.get("chunk") == len(_OLD_BOUNDS) else _BOUNDS
    if BINARY not in header.lines:
        raise ValueError(f"{path} is no binary .ply, expected '{BINARY}'; export it again")
    expected = tables(n, k, bounds)
    for one, other in zip_longest(there, expected, fillvalue="no further element"):
        if one != other:
            raise ValueError(f"{path} has {one}, expected {other}; fetch or export it again")
    length, found = header.bytes + sum(table.bytes for table in expected), path.stat().st_size
    if length != found:
        raise ValueError(
            f"{path} has {found:,} bytes, expected {length:,} for {n:,} Gaussians;"
            " fetch or export it again"
        )
    return _Layout(n, k, len(bounds), header.bytes)


def tables(n: int, k: int, bounds: tuple[str, ...] = _BOUNDS) -> list[Table]:
    """The tables of a file with `k` SH coefficients a channel."""
    rest = tuple(f"uchar f_rest_{i}" for i in range(3 * (k - 1)))
    first = [Table("chunk", _chunks(n), bounds), Table("vertex", n, _WORDS)]
    return [*first, Table("sh", n, rest)] if rest else first


def _chunks(n: int) -> int:
    return -(-n // CHUNK)


def _with_colors(bounds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bounds [chunks, 3, 2, 3] where there may be none of colours."""
    if bounds.shape[1] == 3:
        return bounds
    colors = np.broadcast_to(np.array([[0], [1]], np.float32), (len(bounds), 1, 2, 3))
    return np.concatenate([bounds, colors], axis=1)
