"""What surrounds the numbers of an `.anchors` file (`splat.formats.container`), and what its header
says; torch is not loaded for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splat.formats.container import Container, background_in, broken
from splat.system.foreign import Record, reading

__all__ = [
    "ANCHORS",
    "MAGIC",
    "SUFFIX",
    "VERSION",
    "broken",
    "described",
    "header_of",
    "read",
    "write",
]

SUFFIX, MAGIC, VERSION = ".anchors", b"SPLATANC", 1
ANCHORS = Container(SUFFIX, MAGIC, VERSION)
read, write = ANCHORS.read, ANCHORS.write


def header_of(path: Path) -> dict[str, Any]:
    """What a file says of itself: kind, anchors, frame, drawing, background, settings."""
    header = ANCHORS.read(path)[0]
    with reading(path, ANCHORS.whole):
        background_in(Record(header))
        Record(header).text("kind")
    return header


def described(path: Path) -> Mapping[str, Any]:
    """What a file says of itself, for people."""
    header = header_of(path)
    return {
        "format": f".anchors, {header['kind']}",
        "anchors": header["anchors"],
        "settings": header["settings"],
        "voxel": header["voxel"],
        "photos": header["photos"],
        "frame": header["frame"],
        "background": header["background"],
    }
