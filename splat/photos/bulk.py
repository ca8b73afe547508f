"""What photos take before anything is decoded: how many at once, and bytes; nothing is loaded for
it."""

from __future__ import annotations

from splat.scene import View

AHEAD = 3
"""Views that are decoded before they are asked for."""
REDUCED = (8, 4, 2)
"""How many times smaller, along a side, a JPEG can be decoded, the smallest first."""
STORED_BYTES = 4
"""Bytes a pixel while a photo is decoded: the file, and what the decoder makes of it."""
LENS_BYTES = 12
"""Further bytes a pixel where a lens is undone: a second picture, and the map, which is kept."""


def bytes_passing(view: View, factor: int) -> int:
    """Bytes of memory while a view is decoded, beside the result; `factor`: of a JPEG so many times
    smaller (`reduction`)."""
    pixels = view.camera.width * view.camera.height
    lens = LENS_BYTES if view.lens is not None or view.cut is not None else 0
    return pixels * (STORED_BYTES + lens) // factor**2


def reduction(view: View, width: int, height: int) -> int:
    """How many times smaller, along a side, a JPEG may be decoded for a picture of width x height.

    8, 4 or 2 where what is decoded is no smaller than the picture and has no part of a pixel, so
    that the cameras fit it exactly; else, and for photos with masks or from which views are cut
    out, 1.
    """
    full = view.camera
    if view.mask is not None or view.cut is not None:
        return 1
    return next((k for k in REDUCED if _divides(k, full.width, width, full.height, height)), 1)


def _divides(k: int, *sides: int) -> bool:
    """Whether each side / k is whole and no smaller than wanted; `sides`: side, wanted, ..."""
    pairs = zip(sides[::2], sides[1::2], strict=True)
    return all(side % k == 0 and side // k >= wanted for side, wanted in pairs)
