"""What surrounds the streams of an `.spz`: header, compression, extensions.

Up to version 3 a file is one member of gzip: a header of 16 bytes, the streams, and records of
extensions. Some writers leave the compression out. Version 4 has a plain header of 32 bytes, then
extensions, a table of sizes, and a frame of zstd for each stream that is not empty.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

from splat.formats.limits import check_rows
from splat.formats.settings import Settings
from splat.formats.spz_layout import AXES, Layout, Signs
from splat.system import foreign

ANTIALIASED = 1
"""Flag: drawn with opacity compensated for the low-pass filter."""
_EXTENDED = 2
"""Flag: there are extensions."""
_MAGIC = b"NGSP"
_HEADER = struct.Struct("<4sIIBBBB")
"""Magic, version, Gaussians, degree, fractional bits, flags, streams (0 up to version 3)."""
_REST_OF_4 = struct.Struct("<I12x")
"""Rest of the header of version 4: where the table of sizes begins."""
_SIZES = struct.Struct("<QQ")
"""Sizes of a stream, compressed and plain."""
_RECORD = struct.Struct("<II")
"""Head of an extension: its type, and bytes that follow."""
_GZIP = b"\x1f\x8b"
_GZIP_HEADER = _GZIP + b"\x08" + bytes(6) + b"\xff"
"""Header of gzip: deflate, without name, time and system."""
_END_OF_DEFLATE = b"\x03\x00"
"""An empty last block of deflate."""

_LEVEL_OF_GZIP, _LEVEL_OF_ZSTD = 6, 12
_PART = 1 << 22
"""Bytes that are deflated at a time, without a look at those before."""
_THREADS = 2
_RATIO = 1032
"""Bytes that deflate makes of one at most; zstd makes more only of Gaussians that are all alike."""
_HARMLESS = 1 << 26
"""Bytes that a file may ask for however small it is."""
_MOST_EXTENSIONS = 1 << 24
"""Bytes of extensions that are looked through."""
_ADOBE_AXES = 0xADBE0003
"""Extension that numbers the axes of the file."""
_RIGHT_DOWN_FRONT = 6
"""The extension's number for the axes of a .ply."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Header:
    """The header of a file: number of Gaussians, layout and flags."""

    layout: Layout
    n: int
    flags: int

    @property
    def sizes(self) -> list[int]:
        """Plain bytes of each stream."""
        return [self.n * width for width in self.layout.widths]


@dataclass(frozen=True)
class Contents:
    """The contents of a file, not decoded."""

    header: Header
    streams: Sequence[bytes | memoryview]
    extensions: dict[int, bytes]
    """Payloads of extensions by type."""


def packed(header: Header, streams: Sequence[NDArray[np.uint8]]) -> Iterator[bytes]:
    """A file, a part after the other; always the same bytes for the same streams."""
    plain = [stream.data.cast("B") for stream in streams if stream.size]
    layout, flags = header.layout, header.flags
    count = len(plain) if layout.version == 4 else 0
    start = _HEADER.pack(
        _MAGIC, layout.version, header.n, layout.degree, layout.point, flags, count
    )
    return _framed(start, plain) if count else _zipped(b"".join([start, *plain]))


def most(plain: int) -> int:
    """Bytes that a file takes at most for so many of streams: what does not shrink is stored."""
    return plain + plain // 1000 + 512


def unpacked(path: Path) -> Contents:
    """The streams of a file of any version.

    Raises ValueError where the file is broken or is none, before memory is taken that its size
    does not account for.
    """
    return unpacked_from(_file(path), path)


def unpacked_from(data: bytes, path: Path) -> Contents:
    """As `unpacked`, of the bytes of a file, or of what lies within the file `path`."""
    if data[:2] == _GZIP:
        header, body = _unzipped(data, path)
    else:
        header, body = _header(data, path), memoryview(data)[_HEADER.size :]
        if header.layout.version == 4:
            return _unframed(header, data, path)
    plain = sum(header.sizes)
    if len(body) < plain:
        raise _broken(path, f"holds {len(body):,} bytes of Gaussians, expected {plain:,}")
    return Contents(
        header, _cut(body[:plain], header.sizes), _extensions(header, body[plain:], path)
    )


def header_of(path: Path) -> Header:
    """The header of a file."""
    data = _file(path)
    if data[:2] == _GZIP:
        data = _inflated(zlib.decompressobj(31), data, _HEADER.size, path)
    return _header(data, path)


def coefficients(header: Header, path: Path) -> int:
    """SH coefficients that are read, of bands up to the third; a warning says where there are
    more."""
    if header.layout.degree > 3:
        _log.warning("%s has harmonics of degree 4; those of band 4 are left out", path)
    return (min(header.layout.degree, 3) + 1) ** 2


def axes_of(contents: Contents, path: Path, settings: Settings) -> Signs:
    """Which axes of a file point the other way than those of a .ply; `settings` say it of files
    that do not."""
    named = contents.extensions.get(_ADOBE_AXES, b"")
    number = int.from_bytes(named, "little") if len(named) == 4 else 0
    if 8 < number <= 16:
        _log.warning("%s has its axes y and z swapped, and is read as it is; turn it about x", path)
    if not 0 < number <= 8:
        return AXES[settings.spz_axes]
    # Counted from 1, a bit of the number for each axis: right, up, front.
    other = (number - 1) ^ (_RIGHT_DOWN_FRONT - 1)
    x, y, z = (-1 if other >> axis & 1 else 1 for axis in range(3))
    return x, y, z


def _zipped(plain: bytes) -> Iterator[bytes]:
    yield _GZIP_HEADER
    starts = range(0, len(plain), _PART)
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(lambda at: _deflated(memoryview(plain)[at : at + _PART]), starts)
    yield _END_OF_DEFLATE + struct.pack("<II", zlib.crc32(plain), len(plain) & 0xFFFFFFFF)


def _deflated(part: memoryview) -> bytes:
    """Blocks of deflate that end at a whole byte, and after which others may follow."""
    deflate = zlib.compressobj(_LEVEL_OF_GZIP, wbits=-15)
    return deflate.compress(part) + deflate.flush(zlib.Z_SYNC_FLUSH)


def _framed(start: bytes, streams: Sequence[memoryview]) -> Iterator[bytes]:
    with ThreadPoolExecutor(_THREADS) as pool:
        frames = list(pool.map(_frame, streams))
    yield start + _REST_OF_4.pack(_HEADER.size + _REST_OF_4.size)
    for frame, stream in zip(frames, streams, strict=True):
        yield _SIZES.pack(len(frame), stream.nbytes)
    yield from frames


def _frame(stream: memoryview) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL_OF_ZSTD).compress(stream)


def _file(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of an .spz file")
    return foreign.content(path)


def _header(data: bytes, path: Path) -> Header:
    if data[: len(_MAGIC)] != _MAGIC:
        problem = f"starts with {data[:8]!r}, not with {_MAGIC!r}" if data else "is empty"
        raise _broken(path, f"{problem}: it is no .spz file")
    if len(data) < _HEADER.size:
        raise _broken(path, "is cut off in its header")
    _, version, n, degree, point, flags, _ = _HEADER.unpack_from(data)
    if version not in range(1, 5):
        raise _broken(path, f"is an .spz of version {version}, expected 1 to 4")
    if degree not in range(5):
        raise _broken(path, f"claims harmonics of degree {degree}, expected 0 to 4")
    if point > 24:
        raise _broken(path, f"claims {point} fractional bits of the 24 of a position")
    if n == 0:
        raise ValueError(f"{path}: there are no Gaussians; expected at least one")
    return Header(Layout(version, degree, point), n, flags)


def _unzipped(data: bytes, path: Path) -> tuple[Header, memoryview]:
    """The header, and what follows it."""
    inflate = zlib.decompressobj(31)
    header = _header(_inflated(inflate, data, _HEADER.size, path), path)
    if header.layout.version == 4:
        raise _broken(path, "is of version 4 inside gzip, expected versions 1 to 3")
    limit = _claimed(header, data, path) + _MOST_EXTENSIONS
    body = _inflated(inflate, inflate.unconsumed_tail, limit + 1, path)
    if len(body) > limit or inflate.unused_data:
        raise _broken(path, f"goes on after its {header.n:,} Gaussians")
    if not inflate.eof:
        raise _broken(path, "is cut off")
    return header, memoryview(body)


def _inflated(inflate: zlib._Decompress, data: bytes, limit: int, path: Path) -> bytes:
    try:
        return inflate.decompress(data, limit)
    except zlib.error as error:
        raise _broken(path, f"is broken ({error})") from None


def _unframed(header: Header, data: bytes, path: Path) -> Contents:
    _claimed(header, data, path)
    first = _HEADER.size + _REST_OF_4.size
    sizes = [size for size in header.sizes if size]
    if len(data) < first:
        raise _broken(path, "is cut off in its header")
    (table,) = _REST_OF_4.unpack_from(data, _HEADER.size)
    end = table + len(sizes) * _SIZES.size
    count = data[_HEADER.size - 1]
    if count != len(sizes):
        raise _broken(path, f"has {count} streams, expected {len(sizes)}")
    if not first <= table <= end <= len(data):
        raise _broken(path, f"has its table of sizes at byte {table:,} of {len(data):,}")
    shrunk, plain = zip(*_SIZES.iter_unpack(data[table:end]), strict=True)
    if list(plain) != sizes:
        raise _broken(path, f"has streams of {list(plain)} bytes, expected {sizes}")
    if end + sum(shrunk) != len(data):
        raise _broken(path, f"has {len(data):,} bytes, expected {end + sum(shrunk):,}")
    frames = _cut(memoryview(data)[end:], shrunk)
    streams = [_unframed_stream(*each, path) for each in zip(frames, sizes, strict=True)]
    empty = [b""] * (len(header.sizes) - len(sizes))
    records = data[first:table] if header.flags & _EXTENDED else b""
    return Contents(header, [*streams, *empty], _extensions(header, memoryview(records), path))


def _unframed_stream(frame: memoryview, size: int, path: Path) -> bytes:
    try:
        # A frame that does not tell its size is taken up to the size expected.
        stated_size = zstandard.frame_content_size(frame)
        if stated_size in (-1, size):
            stream = zstandard.ZstdDecompressor().decompress(
                frame, max_output_size=size, allow_extra_data=False
            )
            if len(stream) == size:
                return stream
    except zstandard.ZstdError as error:
        raise _broken(path, f"is broken ({error})") from None
    raise _broken(path, f"has a stream that does not hold the {size:,} bytes expected")


def _claimed(header: Header, data: bytes, path: Path) -> int:
    """Plain bytes of the streams, as many as may be of a file of this size."""
    plain = sum(header.sizes)
    if plain > max(_RATIO * len(data), _HARMLESS):
        raise _broken(path, f"claims {header.n:,} Gaussians in {len(data):,} bytes")
    check_rows(header.n, header.layout.degree, len(data))
    return plain


def _cut(data: memoryview, sizes: Sequence[int]) -> list[memoryview]:
    parts, at = [], 0
    for size in sizes:
        parts.append(data[at : at + size])
        at += size
    return parts


def _extensions(header: Header, records: memoryview, path: Path) -> dict[int, bytes]:
    if records and not header.flags & _EXTENDED:
        raise _broken(path, f"goes on for {len(records):,} bytes after its Gaussians")
    if len(records) > _MOST_EXTENSIONS:
        raise _broken(path, f"has {len(records):,} bytes of extensions")
    payloads, at = {}, 0
    while at < len(records):
        payload = at + _RECORD.size
        kind, length = _RECORD.unpack_from(records, at) if payload <= len(records) else (0, 0)
        at = payload + length
        if at > len(records):
            raise _broken(path, "has an extension that is cut off")
        payloads[kind] = bytes(records[payload:at])
    return payloads


def _broken(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} {what}; fetch or export it again")
