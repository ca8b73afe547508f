"""What surrounds the numbers of a `.clip` file (`splat.formats.container`), and what its header
says; torch is not loaded for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splat.formats.container import Container

CLIP = Container(".clip", b"SPLATCLP", 1)


def header_of(path: Path) -> dict[str, Any]:
    """What a file says of itself: kind, rows, sizes, frame, drawing, background."""
    return CLIP.header(path, "rows")


def described(path: Path) -> Mapping[str, Any]:
    """What a file says of itself, for people."""
    header = header_of(path)
    sizes = header["sizes"]
    return {
        "format": f".clip, {header['kind']}",
        "gaussians": header["rows"],
        "planes": {
            "sides": sizes["sides"], "instants": sizes["instants"], "channels": sizes["channels"],
        },
        "layers": sizes["width"],
        "steps": header.get("step"),
        "frame": header["frame"],
        "background": header["background"],
    }  # fmt: skip
