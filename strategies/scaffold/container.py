"""What surrounds the numbers of an `.anchors` file (`splat.formats.container`), and what its header
says; torch is not loaded for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splat.formats.container import Container

ANCHORS = Container(".anchors", b"SPLATANC", 1)


def header_of(path: Path) -> dict[str, Any]:
    """What a file says of itself: kind, anchors, frame, drawing, background, settings."""
    return ANCHORS.header(path, "anchors")


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
