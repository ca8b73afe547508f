"""USD as text (`.usda`): `splat.formats.usd`, of which only the bytes are others."""

from __future__ import annotations

from splat.formats import usd
from splat.formats.settings import Settings

write, read, drawing = usd.write, usd.read, usd.drawing
_LONGEST = 18
"""Characters of a number with what stands before the next, at most."""


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes at most."""
    del settings
    return usd.OVERHEAD + n * _LONGEST * (11 + 3 * (sh_degree + 1) ** 2)
