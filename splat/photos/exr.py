"""OpenEXR files of one part in scan lines: the plain ones that renderers write, as NumPy arrays.

OpenCV's wheels come without OpenEXR; depth of Blender and of scanners is kept in it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

_MAGIC = b"\x76\x2f\x31\x01"
_TYPES: Mapping[int, np.dtype[Any]] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_LINES = {0: 1, 1: 1, 2: 1, 3: 16}
"""Scan lines in a chunk, by compression: none, runs, zlib of one line, zlib of sixteen."""
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
    raw = path.read_bytes()
    try:
        header = _header(raw, path)
        return _channels(raw, header)
    except (struct.error, zlib.error, IndexError, KeyError, UnicodeDecodeError):
        raise ValueError(
            f"{path}: cannot be read to its end; expected a whole OpenEXR file: export it again"
        ) from None


def _header(raw: bytes, path: Path) -> _Header:
    if raw[:4] != _MAGIC:
        raise ValueError(f"{path}: is no OpenEXR file; expected one, or .png or .npy: convert it")
    (flags,) = struct.unpack_from("<I", raw, 4)
    if flags & 0x1A00:
        raise ValueError(
            f"{path}: is OpenEXR in tiles, deep or of several parts; expected scan lines: convert"
            " it, or give .npy"
        )
    at, attributes = 8, {}
    while raw[at] != 0:
        name, at = _text(raw, at)
        _, at = _text(raw, at)
        (size,) = struct.unpack_from("<i", raw, at)
        attributes[name] = raw[at + 4 : at + 4 + size]
        at += 4 + size
    compression = attributes["compression"][0]
    if compression not in _LINES:
        kind = _NAMES[compression] if compression < len(_NAMES) else compression
        raise ValueError(
            f"{path}: is OpenEXR compressed by {kind}; expected ZIP, ZIPS, RLE or none: save it so,"
            " or give .npy"
        )
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    channels = _listed(attributes["channels"], path)
    return _Header(channels, compression, right - left + 1, bottom - top + 1, top, at + 1)


def _listed(raw: bytes, path: Path) -> tuple[tuple[str, np.dtype[Any]], ...]:
    """Names and types of the channels, in the order of the file."""
    at = 0
    channels: list[tuple[str, np.dtype[Any]]] = []
    while raw[at] != 0:
        name, at = _text(raw, at)
        kind, _, across, down = struct.unpack_from("<iIii", raw, at)
        if (across, down) != (1, 1):
            raise ValueError(f"{path}: channel {name} is subsampled; expected all pixels of it")
        channels.append((name, _TYPES[kind]))
        at += 16
    return tuple(channels)


def _text(raw: bytes, at: int) -> tuple[str, int]:
    end = raw.find(0, at)
    if end < 0:
        raise IndexError
    return raw[at:end].decode("ascii"), end + 1


def _channels(raw: bytes, header: _Header) -> Mapping[str, Float32[ndarray, "h w"]]:
    lines = _LINES[header.compression]
    count = -(-header.height // lines)
    channels = {
        name: np.empty((header.height, header.width), np.float32) for name, _ in header.channels
    }
    for offset in struct.unpack_from(f"<{count}Q", raw, header.end):
        row, size = struct.unpack_from("<ii", raw, offset)
        first = row - header.top
        rows = min(lines, header.height - first)
        expected = rows * header.width * sum(kind.itemsize for _, kind in header.channels)
        data = raw[offset + 8 : offset + 8 + size]
        # What compression does not make smaller is kept as it is.
        plain = data if size >= expected else _plain(data, header.compression)
        if len(plain) != expected:
            raise IndexError
        at = 0
        for y in range(first, first + rows):
            for name, kind in header.channels:
                channels[name][y] = np.frombuffer(plain, kind, header.width, at)
                at += header.width * kind.itemsize
    return channels


def _plain(data: bytes, compression: int) -> bytes:
    """A chunk unpacked: bytes are stored as differences, the even ones before the odd ones."""
    packed = _runs(data) if compression == 1 else zlib.decompress(data)
    stored = np.frombuffer(packed, np.uint8).astype(np.int64)
    stored[1:] -= 128
    values = (np.cumsum(stored) & 255).astype(np.uint8)
    half = (len(values) + 1) // 2
    woven = np.empty_like(values)
    woven[0::2], woven[1::2] = values[:half], values[half:]
    return woven.tobytes()


def _runs(data: bytes) -> bytes:
    """Run lengths undone: a count of -n has n bytes follow, a count of n one byte n + 1 times."""
    at, unpacked = 0, bytearray()
    while at < len(data):
        count = data[at] - 256 if data[at] > 127 else data[at]
        if count < 0:
            unpacked += data[at + 1 : at + 1 - count]
            at += 1 - count
        else:
            unpacked += data[at + 1 : at + 2] * (count + 1)
            at += 2
    return bytes(unpacked)
