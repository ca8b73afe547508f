"""The room's own surfaces: boards, tiles, bricks, papers, a bare wall, and what glows in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from splat.datasets.tracer.colours import dimmed, edge, linear, mixed, over
from splat.datasets.tracer.vectors import Array, Numbers, Vector
from worlds.pattern import Paint, boards, bricks, grain, hashed, noise, within, writing
from worlds.sweep.layout import PANEL, PANEL_MIDDLE, WINDOW


def _floor(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Oak boards along x, of different tints."""
    del face, z
    return boards(x, y, 0.16, 1.3, 0.55, ("cfa678", "8a5d38"), 1)


def _ceiling(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Mineral tiles with pores."""
    del face, z
    pores = noise(x * 75, y * 75, 11) * (0.55 + 0.45 * noise(x * 14, y * 14, 12))
    base = mixed(edge(pores - 0.62, 0.1), "e9e7e2", "a5a29b")
    a, b = (np.abs(v / 0.6 - np.floor(v / 0.6) - 0.5) for v in (x, y))
    return dimmed(base, 1 - 0.45 * edge(np.maximum(a, b) - 0.487, 0.006))


def _skirting(wall: Vector, along: Array, height: Array) -> Vector:
    """A white board along the foot of a wall, a dark joint above it."""
    wall = dimmed(wall, 1 - 0.5 * within(height, 0.085, 0.1))
    return over(
        wall, edge(0.088 - height, 0.004), mixed(noise(along, along, 21), "e4e0d8", "d4cfc5")
    )


def _bricks(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Pale bricks with two framed pictures."""
    del face, y
    z = z + 1.3
    base = bricks(x, z, (0.24, 0.078), (0.6, 0.55), 45, ("cdb29b", "9c7558", "d8d3c8"), 31)
    base = over(base, *_picture(x + 0.75, z - 1.62, 0.55, 0.32, "2f3a44", _hills))
    base = over(base, *_picture(x - 1.12, z - 1.5, 0.36, 0.5, "7a5a36", _bill))
    return _skirting(base, x, z)


def _picture(
    a: Array,
    b: Array,
    wide: float,
    high: float,
    frame: str,
    motif: Callable[[Array, Array], Vector],
) -> tuple[Array, Vector]:
    """A framed picture: where it is, and its colours."""
    whole = within(a, -wide, wide) * within(b, -high, high)
    inner = within(a, 0.03 - wide, wide - 0.03) * within(b, 0.03 - high, high - 0.03)
    r, g, v = (np.full_like(a, c) for c in linear(frame))
    return whole, over((r, g, v), inner, motif(a, b))


def _hills(a: Array, b: Array) -> Vector:
    sky = mixed(np.clip(0.5 + 1.6 * b + 0.2 * noise(a * 9, b * 22, 41), 0, 1), "ead9bb", "8fb0bd")
    for k, (height, colour) in enumerate(
        (((0.06), "8aa0a0"), (-0.06, "6e8a6a"), (-0.17, "4e6444"))
    ):
        ridge = height + 0.09 * noise(a * 7, a * 0 + k, 42) + 0.03 * noise(a * 25, a * 0 + k, 43)
        shade = mixed(noise(a * 40, b * 40, 44 + k), colour, "c9c49a")
        sky = over(sky, edge(ridge - 0.05 - b, 0.004), over(shade, np.full_like(a, 0.6), colour))
    return over(sky, edge(0.055 - np.hypot(a - 0.27, b - 0.17), 0.004), "d98a4a")


def _bill(a: Array, b: Array) -> Vector:
    paper = mixed(noise(a * 6, b * 6, 51), "efe6d2", "e3d8bf")
    turn = np.arctan2(b - 0.12, a)
    far = np.hypot(a, b - 0.12)
    rings = edge(np.sin(far * 130 + turn * 2), 0.5) * edge(0.24 - far, 0.004)
    paper = over(paper, rings, "a6452f")
    paper = over(paper, edge(0.07 - np.hypot(a - 0.1, b - 0.2), 0.004), "23424f")
    ink = writing(a, b, 0.045, 52) * within(b, -0.42, -0.15) * within(a, -0.26, 0.26)
    return over(paper, ink, "2b2723")


def _papered(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """The window's wall: pale paper with a small pattern, and the window's frame."""
    del face, x
    z = z + 1.3
    i, j = np.floor(y / 0.14), np.floor(z / 0.14)
    a, b = y / 0.14 - i - 0.5, z / 0.14 - j - 0.5
    turn = np.arctan2(b, a) + 6.28 * hashed(i, j, 61)
    leaf = edge(0.28 + 0.12 * np.sin(3 * turn) - np.hypot(a, b), 0.05)
    base = mixed(noise(y * 30, z * 30, 62), "cfd6c6", "bcc5b2")
    base = over(base, 0.75 * leaf, mixed(hashed(i, j, 63), "7f9478", "a58d6a"))
    low, high, foot, top = WINDOW
    frame = within(y, low - 0.07, high + 0.07) * within(z, foot - 0.07, top + 0.07)
    return _skirting(over(base, frame, "f1efe9"), y, z)


def _striped(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """The shelf's wall: paper with stripes, and a door."""
    del face, y
    z = z + 1.3
    stripe = np.floor(x / 0.11)
    tint = 0.5 * (stripe % 2) + 0.35 * noise(x * 35, z * 35, 71)
    base = _skirting(mixed(np.clip(tint, 0, 1), "d9cdb4", "b09a78"), x, z)
    a, b = x - 1.25, z - 1.02
    frame = within(a, -0.5, 0.5) * within(b, -1.1, 1.07)
    leaf = within(a, -0.43, 0.43) * within(b, -1.02, 1.0)
    wood = mixed(grain(b, a, 72), "a9794e", "6e4a2d")
    for low, high in ((-0.88, -0.1), (0.04, 0.86)):
        inset = within(np.abs(a), -1, 0.31, 0.01) * within(b, low, high, 0.01)
        core = within(np.abs(a), -1, 0.285, 0.01) * within(b, low + 0.025, high - 0.025, 0.01)
        wood = dimmed(wood, 1 - 0.5 * (inset - core))
    wood = over(wood, edge(0.028 - np.hypot(a + 0.37, b), 0.004), "d2b467")
    return over(over(base, frame, "e6dfd0"), leaf, wood)


def _bare(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Nothing to hold on to."""
    del face
    r, g, b = (np.full_like(x, c) for c in linear("d3cec4"))
    return _skirting((r, g, b), y * 0, z + 1.3)


def glow(point: Vector) -> tuple[Array, Vector]:
    """Light that window and panel give off at points of the room in the world, and where."""
    x, y, z = point
    low, high, foot, top = WINDOW
    pane = within(y, low, high) * within(z, foot, top) * (x > 2.49)
    bars = (np.abs(y - (low + high) / 2) < 0.025) | (np.abs(z - 1.62) < 0.018)
    pane = pane * (1 - bars)
    a, b = x - PANEL_MIDDLE[0], y - PANEL_MIDDLE[1]
    lamp = within(a, PANEL[0], PANEL[1]) * within(b, PANEL[2], PANEL[3]) * (z > 2.59)
    branch = edge(noise(y * 9, z * 9, 81) + 0.6 * noise(y * 24, z * 24, 82) - 0.95, 0.12)
    sky = mixed(np.clip(branch * edge(1.75 - z, 0.3), 0, 1), "f4f8ff", "b9c9a8")
    shine = over(
        (sky[0] * 2.6, sky[1] * 2.6, sky[2] * 2.6), lamp, (3.4 + 0 * x, 3.2 + 0 * x, 2.9 + 0 * x)
    )
    return pane + lamp, shine


PAINTS: tuple[Paint, ...] = (_floor, _ceiling, _bricks, _papered, _striped, _bare)
"""By the numbers of `OBJECTS`."""
