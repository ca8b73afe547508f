"""Procedural patterns: noise, fibres, writing, and what is made of boards and bricks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from splat.datasets.tracer.colours import dimmed, edge, mixed, over
from splat.datasets.tracer.vectors import Array, Numbers, Vector

Paint = Callable[[Numbers, Array, Array, Array], Vector]
"""Albedo at points of a piece in its own frame, given the face each lies on."""


def hashed(a: Array, b: Array, seed: int) -> Array:
    """A number in [0, 1) for every pair of whole numbers: two rounds of xor, shift, multiply."""
    x = a.astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1)
    x ^= b.astype(np.int32).view(np.uint32) * np.uint32(0x85EBCA77) + np.uint32(seed * 7919 + 17)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x2C1B3C6D)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0x297A2D39)
    x ^= x >> np.uint32(16)
    return np.asarray((x >> np.uint32(8)) * np.float32(2.0**-24), np.float32)


def noise(a: Array, b: Array, seed: int) -> Array:
    """Smooth noise in [0, 1), its bumps one unit wide."""
    i, j = np.floor(a), np.floor(b)
    s, t = a - i, b - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    low = hashed(i, j, seed) * (1 - s) + hashed(i + 1, j, seed) * s
    high = hashed(i, j + 1, seed) * (1 - s) + hashed(i + 1, j + 1, seed) * s
    return low * (1 - t) + high * t


def within(a: Array, low: float, high: float, width: float = 0.004) -> Array:
    """1 between two edges, 0 outside."""
    return edge(a - low, width) * edge(high - a, width)


def flat(face: Numbers, x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    """Coordinates on the faces of a box."""
    return np.where(face < 2, y, x), np.where(face < 4, z, y)


def grain(along: Array, across: Array, seed: int) -> Array:
    """Fibres, 0 to 1."""
    bent = across * 60 + 2 * noise(along * 2.5, across * 6, seed)
    return 0.6 * noise(along * 4, bent, seed + 1) + 0.4 * noise(along * 14, bent * 2.3, seed + 2)


def writing(a: Array, b: Array, line: float, seed: int) -> Array:
    """Lines of words too small to read: 1 where there is ink."""
    row = np.floor(b / line)
    inside = within(b / line - row, 0.25, 0.75, 0.12)
    letter = np.floor(a / (line * 0.4))
    gap = hashed(np.floor(letter / 4 + row * 0.37), row, seed) > 0.15
    return inside * gap * (0.45 + 0.55 * (hashed(letter, row, seed + 1) > 0.3))


def boards(
    a: Array, b: Array, wide: float, long: float, contrast: float, colours: tuple[str, str],
    seed: int,
) -> Vector:  # fmt: skip
    """Boards along `a`, each of its own tint by `contrast`, with dark joints."""
    row = np.floor(b / wide)
    along = a / long + hashed(row, row, seed)
    board = np.floor(along)
    tint, fibre = hashed(board, row, seed + 1), grain(a + 3 * board, b, seed + 2)
    base = mixed(np.clip(contrast * tint + 0.9 * (fibre - 0.3), 0, 1), *colours)
    seam = np.minimum(0.5 - np.abs(b / wide - row - 0.5), (0.5 - np.abs(along - board - 0.5)) * 8)
    return dimmed(base, 0.45 + 0.55 * edge(seam - 0.03, 0.03))


def bricks(
    a: Array, b: Array, size: tuple[float, float], contrast: tuple[float, float], rough: float,
    colours: tuple[str, str, str], seed: int,
) -> Vector:  # fmt: skip
    """Bricks in running bond, their joints of the last colour.

    `contrast` is how much tints of bricks, and of roughness as fine as `rough`, differ.
    """
    long, high = size
    row = np.floor(b / high)
    along = a / long + 0.5 * (row % 2)
    brick = np.floor(along)
    tint = contrast[0] * hashed(brick, row, seed)
    tint = tint + contrast[1] * noise(a * rough, b * rough, seed + 1) - 0.05
    base = mixed(np.clip(tint, 0, 1), *colours[:2])
    joint = np.minimum(
        (0.5 - np.abs(along - brick - 0.5)) * long, (0.5 - np.abs(b / high - row - 0.5)) * high
    )
    return over(base, edge(0.006 - joint, 0.003), colours[2])
