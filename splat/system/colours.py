"""Colours by name and by hexadecimal digits."""

from __future__ import annotations

import re
from collections.abc import Sequence

Rgb = tuple[float, float, float]


COLORS: dict[str, Rgb] = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}


def rgb(name: str) -> Rgb:
    """A colour in [0, 1] from its name or its six hexadecimal digits."""
    if name in COLORS:
        return COLORS[name]
    if re.fullmatch(r"#[0-9a-fA-F]{6}", name):
        red, green, blue = (int(name[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return red, green, blue
    raise ValueError(f"background is {name!r}; expected auto, {', '.join(COLORS)} or #rrggbb")


def hexadecimal(color: Sequence[float]) -> str:
    """A colour in [0, 1] as `rgb` reads it."""
    return "#" + "".join(f"{round(255 * value):02x}" for value in color)
