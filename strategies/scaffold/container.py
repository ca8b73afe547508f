"""What surrounds the numbers of an `.anchors` file: magic, a header in JSON, sections.

Little endian: 8 bytes of magic, version (u32), bytes of the header (u32) and its CRC-32, the
header, then its sections, one after the other, whose names, bytes and CRC-32 it tells.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splat.system.files import replacing
from splat.system.foreign import Record, content, fits, parsed, reading

SUFFIX = ".anchors"
MAGIC = b"SPLATANC"
VERSION = 1
_START = struct.Struct("<8sIII")


def write(path: Path, header: Mapping[str, Any], sections: Mapping[str, bytes]) -> None:
    """Write a file; equal contents are equal bytes."""
    table = [[name, len(data), zlib.crc32(data)] for name, data in sections.items()]
    said = json.dumps({**header, "sections": table}, separators=(",", ":"), allow_nan=False)
    text = said.encode()
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(_START.pack(MAGIC, VERSION, len(text), zlib.crc32(text)) + text)
        file.writelines(sections.values())


def read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Header and sections of a file; ValueError where it is broken, newer, or none."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of an {SUFFIX} file")
    with reading(path, f"a whole {SUFFIX} file: write it again"):
        return _read(path, content(path))


def _read(path: Path, data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    if data[: len(MAGIC)] != MAGIC:
        found = f"starts with {data[:8]!r}, not with {MAGIC!r}" if data else "is empty"
        raise broken(path, f"{found}: it is no {SUFFIX} file")
    if len(data) < _START.size:
        raise broken(path, "is cut off in its header")
    _, version, length, crc = _START.unpack_from(data)
    if version > VERSION:
        raise ValueError(
            f"{path} has version {version} of the format, this splat reads up to {VERSION}; upgrade"
            " splat-toolkit"
        )
    text = data[_START.size : _START.size + length]
    if len(text) < length:
        raise broken(path, "is cut off in its header")
    if zlib.crc32(text) != crc:
        raise broken(path, "has another header than was written (its checksum differs)")
    header = {**Record.of(parsed(text))}
    table = header.pop("sections", None)
    if not fits(table, list[tuple[str, int, int]]) or any(size < 0 for _, size, _ in table):
        raise broken(path, "has no table of its sections")
    sections: dict[str, bytes] = {}
    at = _START.size + length
    for name, size, crc in table:
        part = data[at : at + size]
        if len(part) < size:
            raise broken(path, f"is cut off in {name}: {len(part):,} of {size:,} bytes are there")
        if zlib.crc32(part) != crc:
            raise broken(path, f"has other {name} than were written (its checksum differs)")
        sections[name], at = part, at + size
    if at < len(data):
        raise broken(path, f"goes on for {len(data) - at:,} bytes after its end")
    return header, sections


def broken(path: Path, how: str) -> ValueError:
    """The error for a file that cannot be used."""
    return ValueError(f"{path} {how}; write it again, or copy it again from where it is whole")
