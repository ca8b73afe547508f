"""OpenEXR files of one part in scan lines: the plain ones that renderers write, as NumPy arrays.

OpenCV's wheels come without OpenEXR; depth of Blender and of scanners is kept in it. Not by the
package OpenEXR (3.5, tried): it halves the 0.2 s of a map of six million pixels, but takes whatever
memory a header claims, so that ours would stay before it, and writes its errors to the terminal.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from splat.photos.pictures import MOST_PIXELS
from splat.system import foreign
from splat.system.foreign import Broken

_MAGIC = b"\x76\x2f\x31\x01"
_TYPES: Mapping[int, np.dtype[Any]] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_LINES = {0: 1, 1: 1, 2: 1, 3: 16}
"""Scan lines in a chunk, by compression: none, runs, zlib of one line, zlib of sixteen."""
_WHOLE = "expected a whole OpenEXR file: export it again"
_NAMES = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")


@dataclass(frozen=True)
class _Header:
    channels: tuple[tuple[str, np.dtype[Any]], ...]
    compression: int
    width: int
    height: int
    top: int
    end: int
    """Offset in the file of the table of chunks, bytes."""


def read(path: Path) -> Mapping[str, Float32[ndarray, "h w"]]:
    """The channels of a file by their names; ValueError where it is of a kind that is not read."""
    with foreign.reading(path, "a whole OpenEXR file: export it again"):
        raw = foreign.content(path)
        header = _header(raw)
        return _channels(raw, header)


def _header(raw: bytes) -> _Header:
    if raw[:4] != _MAGIC:
        raise Broken("is no OpenEXR file; expected one, or .png or .npy: convert it")
    (flags,) = struct.unpack_from("<I", raw, 4)
    if flags & 0x1A00:
        raise Broken(
            "is OpenEXR in tiles, deep or of several parts; expected scan lines: convert it, or"
            " give .npy"
        )
    at, attributes = 8, {}
    while raw[at] != 0:
        name, at = _text(raw, at)
        _, at = _text(raw, at)
        (size,) = struct.unpack_from("<i", raw, at)
        if not 0 <= size <= len(raw) - at - 4:
            raise Broken(f"has an attribute {name} of {size:,} bytes; {_WHOLE}")
        attributes[name] = raw[at + 4 : at + 4 + size]
        at += 4 + size
    compression = attributes["compression"][0]
    if compression not in _LINES:
        kind = _NAMES[compression] if compression < len(_NAMES) else compression
        raise Broken(
            f"is OpenEXR compressed by {kind}; expected ZIP, ZIPS, RLE or none: save it so, or give"
            " .npy"
        )
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    channels = _listed(attributes["channels"])
    width, height = right - left + 1, bottom - top + 1
    if min(width, height) < 1 or width * height > MOST_PIXELS:
        raise Broken(f"claims {width:,} x {height:,} pixels; {_WHOLE}")
    foreign.check_claim(4 * width * height * len(channels), len(raw), f"{len(channels)} channels")
    return _Header(channels, compression, width, height, top, at + 1)


def _listed(raw: bytes) -> tuple[tuple[str, np.dtype[Any]], ...]:
    """Names and types of the channels, in the order of the file."""
    at = 0
    channels: list[tuple[str, np.dtype[Any]]] = []
    while raw[at] != 0:
        name, at = _text(raw, at)
        kind, _, across, down = struct.unpack_from("<iIii", raw, at)
        if (across, down) != (1, 1):
            raise Broken(f"channel {name} is subsampled; expected all pixels of it")
        channels.append((name, _TYPES[kind]))
        at += 16
    return tuple(channels)


def _text(raw: bytes, at: int) -> tuple[str, int]:
    end = raw.find(0, at)
    if end < 0:
        raise IndexError
    return raw[at:end].decode("ascii"), end + 1


def _channels(raw: bytes, header: _Header) -> Mapping[str, Float32[ndarray, "h w"]]:
    lines, width = _LINES[header.compression], header.width
    count = -(-header.height // lines)
    starts = np.frombuffer(raw, "<u8", count, header.end)
    missing = np.ones(count, bool)
    channels = {name: np.empty((header.height, width), np.float32) for name, _ in header.channels}
    width_bytes = width * sum(kind.itemsize for _, kind in header.channels)
    for offset in map(int, starts):
        row, size = struct.unpack_from("<ii", raw, offset)
        first = row - header.top
        chunk, odd = divmod(first, lines)
        there = not odd and 0 <= chunk < count and missing[chunk]
        if not there or not 0 <= size <= len(raw) - offset - 8:
            raise Broken(f"cannot be read to its end (rows are missing, or there twice); {_WHOLE}")
        missing[chunk] = False
        rows = slice(first, min(first + lines, header.height))
        expected = (rows.stop - rows.start) * width_bytes
        data = raw[offset + 8 : offset + 8 + size]
        # What compression does not make smaller is kept as it is.
        plain = data if size >= expected else _plain(data, header.compression, expected)
        if len(plain) != expected:
            raise Broken(f"cannot be read to its end (rows are cut off); {_WHOLE}")
        block, at = np.frombuffer(plain, np.uint8).reshape(-1, width_bytes), 0
        for name, kind in header.channels:
            end = at + width * kind.itemsize
            channels[name][rows] = np.ascontiguousarray(block[:, at:end]).view(kind)
            at = end
    return channels


def _plain(data: bytes, compression: int, expected: int) -> bytes:
    """A chunk unpacked: bytes are stored as differences, the even ones before the odd ones."""
    if compression == 0:
        return data
    packed = _runs(data, expected) if compression == 1 else foreign.unpacked(data, expected)
    values = np.frombuffer(packed, np.uint8).copy()
    values[1:] += 128  # as bytes are: 128 away either way is the same
    np.cumsum(values, out=values)
    half = (len(values) + 1) // 2
    woven = np.empty_like(values)
    woven[0::2], woven[1::2] = values[:half], values[half:]
    return bytes(woven)


def _runs(data: bytes, expected: int) -> bytes:
    """Run lengths undone: a count of -n has n bytes follow, a count of n one byte n + 1 times."""
    at, unpacked = 0, bytearray()
    while at < len(data) and len(unpacked) <= expected:
        count = data[at] - 256 if data[at] > 127 else data[at]
        if count < 0:
            unpacked += data[at + 1 : at + 1 - count]
            at += 1 - count
        else:
            unpacked += data[at + 1 : at + 2] * (count + 1)
            at += 2
    return bytes(unpacked)
