"""What the surfaces are made of: procedural colours, and how much each one shines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from splat.datasets.demo.shapes import SOLIDS, VASE_MIDDLE, Solid
from splat.datasets.tracer.colours import dimmed, edge, mixed
from splat.datasets.tracer.vectors import Array, Numbers, Vector, occurring, picked

Paint = Callable[[Array, Array, Array], Vector]


def _wood(x: Array, y: Array, z: Array) -> Vector:
    """Oak boards 0.3 wide, each of its own tint, with grain along x."""
    del z
    across = y / 0.3 + 0.5
    board = np.floor(across)
    to_seam = 0.5 - np.abs(across - board - 0.5)
    along = x + 1.7 * board
    drift = np.sin(along * 1.9 + board) + 0.6 * np.sin(along * 3.7 - 2 * board + y * 4)
    grain = np.sin(y * 55 + 2.2 * drift) * (0.6 + 0.4 * np.sin(along * 2.3 + board * 5))
    tint = 0.5 + 0.5 * np.sin(board * 12.9898 + 1.3)
    share = np.clip(0.32 + 0.32 * tint + 0.2 * grain, 0, 1)
    seam = 0.5 + 0.5 * edge(to_seam - 0.035, 0.03)
    return dimmed(mixed(share, "dcb384", "a8703f"), seam)


def _vase(x: Array, y: Array, z: Array) -> Vector:
    """Terracotta, a band of cream waves around its belly, cream lip."""
    z = z + VASE_MIDDLE
    turn = np.arctan2(y, x)
    wave = 0.04 * np.sin(6 * turn)
    belly = edge(0.075 - np.abs(z - 0.42 - wave), 0.012)
    lines = edge(0.013 - np.abs(np.abs(z - 0.42) - 0.17), 0.008)
    lip = edge(z - 0.985, 0.012)
    return mixed(np.maximum(np.maximum(belly, lines), lip), "bf5f3c", "f0dfc4")


def _marble(x: Array, y: Array, z: Array) -> Vector:
    """Teal with paler, bent bands."""
    bend = np.sin(7 * x + 2 * np.sin(6 * y)) + np.sin(8 * y - 5 * x)
    band = np.sin(15 * z + 1.5 * bend)
    return mixed(edge(band, 1.1), "0d4f5c", "74bdb0")


def _stripes(x: Array, y: Array, z: Array) -> Vector:
    """Mustard with cream diagonal stripes."""
    wave = np.sin((x + y + z) * (2 * np.pi / 0.25))
    return mixed(edge(wave - 0.35, 0.22), "e0a32e", "f6ead0")


def _banded(x: Array, y: Array, z: Array) -> Vector:
    """Night blue with gold bands that wind around the tube."""
    wind = np.arctan2(z, np.sqrt(x * x + y * y) - 0.25)
    return mixed(edge(np.sin(9 * np.arctan2(y, x) + wind) - 0.62, 0.25), "2b3a63", "dcb25c")


def _leaf(x: Array, y: Array, z: Array) -> Vector:
    """Sage, darker in rings towards the ground."""
    rings = np.sin(z * 30 + 0.8 * np.sin(3 * np.arctan2(y, x)))
    return mixed(np.clip(0.55 - 0.5 * z + 0.22 * rings, 0, 1), "b9c9a0", "4f7256")


def _speckled(x: Array, y: Array, z: Array) -> Vector:
    """Robin's egg: pale blue with small brown speckles."""
    a, b, c = 0.8 * x + 0.6 * z, y + 0.3 * x, 0.8 * z - 0.6 * x
    spots = np.sin(67 * a + 4 * np.sin(19 * b)) * np.sin(61 * b + 4 * np.sin(17 * c))
    spots = spots * np.sin(59 * c + 4 * np.sin(23 * a))
    return mixed(0.75 * edge(spots - 0.42, 0.25), "bcdcd6", "8a6a52")


def _berry(x: Array, y: Array, z: Array) -> Vector:
    """Plum with one rose band."""
    return mixed(
        edge(0.035 - np.abs(z + 0.01 * np.sin(60 * x) * np.sin(60 * y)), 0.012), "7b2d4f", "e3a1a6"
    )


def _plaster(x: Array, y: Array, z: Array) -> Vector:
    """The room: warm grey below, dusty blue above, faint clouds."""
    cloud = np.sin(1.1 * x + 1.3 * np.sin(0.9 * y)) * np.sin(1.2 * y - 0.8 * z)
    return mixed(np.clip(0.1 + 0.3 * z + 0.06 * cloud, 0, 1), "dccfbd", "86b0b8")


@dataclass(frozen=True)
class Finish:
    """Colour of a surface in its own frame, and its polish."""

    paint: Paint
    gloss: float
    """Weight of the reflection, 0 to 1."""
    sharpness: float = 20.0
    """Exponent of the reflection of the key light."""


ROOM = Finish(_plaster, 0.0)
FINISHES = {
    "plinth": Finish(_wood, 0.25, 12),
    "vase": Finish(_vase, 0.35, 14),
    "sphere": Finish(_marble, 1.0, 40),
    "box": Finish(_stripes, 0.3, 14),
    "ring": Finish(_banded, 0.7, 28),
    "cone": Finish(_leaf, 0.15, 10),
    "egg": Finish(_speckled, 0.4, 18),
    "bead": Finish(_berry, 0.9, 36),
}


def surfaces(
    number: Numbers, point: Vector, solids: Sequence[Solid] = SOLIDS
) -> tuple[Vector, Array, Array]:
    """Linear colour, gloss and sharpness of points on objects."""
    r, g, b, gloss, sharpness = (np.empty_like(point[0]) for _ in range(5))
    for own, mine in occurring(number):
        place = picked(point, mine)
        if own:
            solid = solids[own - 1]
            finish, place = FINISHES[solid.name], solid.local(*place)
        else:
            finish = ROOM
        r[mine], g[mine], b[mine] = finish.paint(*place)
        gloss[mine], sharpness[mine] = finish.gloss, finish.sharpness
    return (r, g, b), gloss, sharpness
