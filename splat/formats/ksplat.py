"""The `.ksplat` of mkkellogg's viewer (GaussianSplats3D, SplatBuffer 0.1), read only.

A header, a header for each section, and the sections: how many Gaussians are in each of the last
buckets, the centres of all buckets, and a record for each Gaussian. The level of a file says how
it is compressed: 0 has float32; 1 has positions of 16 bits within their bucket and float16 for the
rest; 2 has bytes for the harmonics as well. Colours are bytes. Harmonics, up to degree 2, lie band
by band, and in each band channel by channel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splat.formats.columns import Columns
from splat.formats.limits import check_rows
from splat.math import SH_C0
from splat.system import foreign
from splat.system.foreign import Broken

if TYPE_CHECKING:
    from splat.types import Gaussians

_HEADER, _SECTION = 4096, 1024
"""Bytes of the file's header, and of a section's."""
_KINDS = (("<f4", "<f4", "<f4"), ("<u2", "<f2", "<f2"), ("<u2", "<f2", "u1"))
"""Types of positions, of scales and quaternions, and of harmonics, by level."""
_REACH = 32767
"""Default range of a position's steps to either side of the bucket's centre."""
_STRONGEST = 1.5
"""Default largest magnitude of harmonics stored as bytes."""

_Array = NDArray[Any]


class _Header(NamedTuple):
    """The header of a file, by its fields."""

    major: int
    minor: int
    sections: int
    """Number of section headers that follow."""
    sections_filled: int
    """Not used, as `room` is not: 0 in some files that hold Gaussians."""
    room: int
    n: int
    level: int

    @classmethod
    def of(cls, data: bytes) -> _Header:
        """Raises `Broken` where a file is of another kind or too short."""
        if len(data) < _HEADER:
            raise Broken(f"has {len(data):,} bytes, expected a header of {_HEADER:,}")
        header = cls(*struct.unpack_from("<BB2x4IH", data))
        if header[:2] != (0, 1) or header.level >= len(_KINDS):
            raise Broken(
                f"says version {header.major}.{header.minor} and level {header.level},"
                " expected version 0.1 and level 0, 1 or 2"
            )
        if len(data) < _HEADER + _SECTION * header.sections:
            raise Broken(f"is cut off: it has {len(data):,} bytes for {header.sections} sections")
        return header


class _Section(NamedTuple):
    """The header of a section, by its fields."""

    n: int
    room: int
    """Number of records that there is room for."""
    bucket: int
    """Number of Gaussians in a full bucket."""
    buckets: int
    block: float
    """Side of the cube that a bucket covers."""
    centre_bytes: int
    reach: int
    storage: int
    full: int
    """Number of full buckets, which come first."""
    partial: int
    degree: int


@dataclass(frozen=True)
class _Part:
    """The data of a section."""

    section: _Section
    lengths: _Array
    """Number of Gaussians in each bucket that is not full."""
    centres: _Array
    """Centres of buckets [buckets, 3]."""
    records: _Array

    def means(self) -> _Array:
        """Positions [n, 3]."""
        stored = self.records["mean"]
        if stored.dtype.kind == "f":
            return stored
        section, row = self.section, np.arange(len(stored))
        whole = min(section.full * section.bucket, len(row))
        ends = whole + np.cumsum(self.lengths, dtype=np.int64)
        later = section.full + np.searchsorted(ends, row, side="right")
        bucket = np.where(row < whole, row // max(1, section.bucket), later)
        if bucket.max(initial=-1) >= len(self.centres):
            raise Broken(f"has Gaussians outside its {len(self.centres)} buckets")
        reach = section.reach or _REACH
        step = np.float32(section.block / 2 / reach)
        means: _Array = (stored.astype(np.float32) - np.float32(reach)) * step
        return means + self.centres[bucket]

    def harmonics(self, weakest: float, strongest: float) -> _Array:
        """Coefficients [n, k, 3]; bytes stand for what lies between two values."""
        rest = self.records["rest"]
        if rest.dtype.kind == "u":
            rest = weakest + rest / np.float32(255) * (strongest - weakest)
        coefficients = [(self.records["color"][:, None, :3] / np.float32(255) - 0.5) / SH_C0]
        for band in range(1, self.section.degree + 1):
            start, wide = 3 * (band * band - 1), 2 * band + 1
            values = rest[:, start : start + 3 * wide].reshape(-1, 3, wide)
            coefficients.append(values.transpose(0, 2, 1))
        return np.concatenate(coefficients, axis=1)


def read(path: Path) -> Gaussians:
    """The Gaussians of a file; rows with NaN or infinite values are left out, with a warning."""
    from splat.formats.rows import gaussians_of  # those who look at columns load no torch

    return gaussians_of(columns(path).whole(path))


def columns(path: Path) -> Columns:
    """What a file holds, finite or not."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of a .ksplat file")
    return _gathered(foreign.content(path))


@np.errstate(all="ignore")
def _gathered(data: bytes) -> Columns:
    header = _Header.of(data)
    parts = _parts(data, header)
    n = sum(part.section.n for part in parts)
    if n != header.n:
        raise Broken(f"has {n:,} Gaussians in its sections, expected {header.n:,}")
    degree = max((part.section.degree for part in parts), default=0)
    check_rows(n, degree, len(data))
    ends = struct.unpack_from("<ff", data, 36)
    weakest, strongest = ends[0] or -_STRONGEST, ends[1] or _STRONGEST
    shapes = ((n, 3), (n, 3), (n, 4), (n,), (n, (degree + 1) ** 2, 3))
    means, scales, quats, opacities, sh = (np.zeros(shape, np.float32) for shape in shapes)
    start = 0
    for part in parts:
        rows = slice(start, start := start + part.section.n)
        means[rows], quats[rows] = part.means(), part.records["quaternion"]
        # The sign of an axis does not show.
        scales[rows] = np.abs(part.records["scale"])
        opacities[rows] = part.records["color"][:, 3] / 255
        sh[rows, : (part.section.degree + 1) ** 2] = part.harmonics(weakest, strongest)
    return Columns(means, scales, opacities, sh, quats)


def _parts(data: bytes, header: _Header) -> list[_Part]:
    """The sections of a file, once they are known to lie within it."""
    parts = []
    start = _HEADER + _SECTION * header.sections
    for i in range(header.sections):
        section = _Section(*struct.unpack_from("<4IfH2x4IH", data, _HEADER + _SECTION * i))
        if section.degree > 2 or section.n > section.room:
            raise Broken(
                f"has a section of degree {section.degree} with {section.n:,} Gaussians in room"
                f" for {section.room:,}, expected degree 0, 1 or 2 and room for all"
            )
        record = _record(header.level, section.degree)
        centres = start + 4 * section.partial
        records = centres + section.centre_bytes * section.buckets
        end = records + record.itemsize * section.n
        if end > len(data) or (section.buckets and section.centre_bytes != 12):
            raise Broken(f"is cut off: it has {len(data):,} bytes, expected {end:,} or more")
        parts.append(
            _Part(
                section,
                np.frombuffer(data, "<u4", section.partial, start),
                np.frombuffer(data, "<f4", 3 * section.buckets, centres).reshape(-1, 3),
                np.frombuffer(data, record, section.n, records),
            )
        )
        start = records + record.itemsize * section.room
    return parts


def _record(level: int, degree: int) -> np.dtype[Any]:
    position, shape, harmonic = _KINDS[level]
    return np.dtype(
        [
            ("mean", position, 3),
            ("scale", shape, 3),
            ("quaternion", shape, 4),
            ("color", "u1", 4),
            ("rest", harmonic, (3 * ((degree + 1) ** 2 - 1),)),
        ]
    )
