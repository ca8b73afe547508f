"""What surrounds the numbers of a `.forest` file (`splat.formats.container`), and what its header
says; torch is not loaded for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splat.formats.container import Container

FOREST = Container(".forest", b"SPLATFOR", version=2, oldest=2)
_TOLD = ("leaves", "mids", "roots")


def header_of(path: Path) -> dict[str, Any]:
    """What a file says of itself: kind, leaves, mids, roots, frame, drawing, background."""
    return FOREST.header(path, *_TOLD)


def described(path: Path) -> Mapping[str, Any]:
    """What a file says of itself, for people."""
    header = header_of(path)
    return {
        "format": f".forest, {header['kind']}",
        **{name: header[name] for name in _TOLD},
        "settings": header["settings"],
        "views": header["views"],
        "frame": header["frame"],
        "background": header["background"],
    }
