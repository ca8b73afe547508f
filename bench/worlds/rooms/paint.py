"""What the materials look like, so that the eye can tell what the ear will find.

Each paints albedo over two coordinates, metres: along a wall and up it, or x and y of a floor.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from splat.datasets.tracer.colours import edge, mixed, over
from splat.datasets.tracer.vectors import Array, Vector
from worlds.pattern import boards, bricks, hashed, noise, within


def _plaster(a: Array, b: Array) -> Vector:
    """Pale boards of 1.25 m, mottled, their joints filled, a filled screw here and there."""
    cloud = 0.55 * noise(a * 1.7, b * 1.7, 1) + 0.3 * noise(a * 6, b * 6, 2)
    base = mixed(np.clip(cloud + 0.25 * noise(a * 40, b * 40, 3), 0, 1), "e6dfd0", "b3a68f")
    joint = np.abs(a / 1.25 - np.round(a / 1.25)) * 1.25
    base = over(base, 0.8 * edge(0.02 - joint, 0.012), "f3efe6")
    row, column = np.round(b / 0.3), np.round(a / 0.625)
    far = np.hypot(b - 0.3 * row, a - 0.625 * column)
    return over(base, edge(0.014 - far, 0.006), "8c8272")


def _brick(a: Array, b: Array) -> Vector:
    """Red bricks in running bond, pale joints."""
    return bricks(a, b, (0.25, 0.083), (0.65, 0.45), 38, ("b5674a", "6f3527", "c9c0b1"), 11)


def _boards(a: Array, b: Array) -> Vector:
    """Oak boards of different tints."""
    return boards(a, b, 0.17, 1.4, 0.6, ("d0a571", "855933"), 21)


def _carpet(a: Array, b: Array) -> Vector:
    """A green pile with a woven pattern of lozenges."""
    pile = 0.6 * noise(a * 60, b * 60, 31) + 0.5 * noise(a * 9, b * 9, 32)
    base = mixed(np.clip(pile, 0, 1), "27503f", "4c7a5e")
    left, right = (a + b) / 0.45, (a - b) / 0.45
    line = np.minimum(np.abs(left - np.round(left)), np.abs(right - np.round(right)))
    base = over(base, 0.8 * edge(0.05 - line, 0.025), "c9b06a")
    knot = np.hypot(left - np.floor(left) - 0.5, right - np.floor(right) - 0.5)
    chosen = hashed(np.floor(left), np.floor(right), 33) > 0.45
    return over(base, edge(0.16 - knot, 0.04) * chosen, "8f3b32")


def _curtain(a: Array, b: Array) -> Vector:
    """Wine-red velvet in folds that hang from a rail."""
    bent = a + 0.02 * np.sin(1.9 * b) + 0.05 * noise(a * 1.3, b * 0.25, 41)
    fold = 0.5 + 0.5 * np.sin(2 * np.pi * bent / 0.19 + 2 * noise(bent * 2, b * 0, 42))
    weave = 0.25 * noise(a * 70, b * 70, 43) + 0.2 * noise(a * 8, b * 3, 44)
    base = mixed(np.clip(0.75 * fold + weave, 0, 1), "2c060f", "b0263f")
    return over(base, within(b % 0.7, 0.3, 0.34, 0.01), "d8a24c")


def _absorber(a: Array, b: Array) -> Vector:
    """Tiles of dark foam, 60 cm wide, their wedges upright in one and level in the next."""
    i, j = np.floor(a / 0.6), np.floor(b / 0.6)
    turned = (i + j) % 2 == 0
    wedge = np.abs((np.where(turned, a, b) / 0.1) % 1 - 0.5) * 2
    pores = 0.3 * noise(a * 55, b * 55, 51) + 0.3 * hashed(i, j, 52)
    base = mixed(np.clip(0.75 * wedge + pores - 0.1, 0, 1), "15171c", "5a6170")
    gap = np.minimum(0.3 - np.abs(a - 0.6 * i - 0.3), 0.3 - np.abs(b - 0.6 * j - 0.3))
    return over(base, edge(0.008 - gap, 0.004), "9aa3ad")


PAINTS: dict[str, Callable[[Array, Array], Vector]] = {
    "plaster": _plaster,
    "brick": _brick,
    "boards": _boards,
    "carpet": _carpet,
    "curtain": _curtain,
    "absorber": _absorber,
}
"""By the name of the material."""
