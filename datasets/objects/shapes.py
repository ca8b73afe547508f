"""Shapes about the origin, z up, of a radius of about one, as signed distances or bounds of them.

Formulas of primitives are textbook (distances to boxes, cylinders and tori; unions are minima,
differences maxima with the negative).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Points = Float[ndarray, "n 3"]
Distances = Float[ndarray, "n"]


def sphere(p: Points, radius: float, at: tuple[float, float, float] = (0, 0, 0)) -> Distances:
    """A ball's distance."""
    distances: Distances = np.linalg.norm(p - np.array(at), axis=1) - radius
    return distances


def box(
    p: Points, half: tuple[float, float, float], at: tuple[float, ...] = (0, 0, 0)
) -> Distances:
    """A box's, of half edges."""
    return _inside_or_out(np.abs(p - np.array(at)) - np.array(half))


def cylinder(p: Points, radius: float, half: float, at: float = 0.0) -> Distances:
    """An upright cylinder's, its middle at a height."""
    around = np.linalg.norm(p[:, :2], axis=1) - radius
    return _inside_or_out(np.stack([around, np.abs(p[:, 2] - at) - half], axis=1))


def cone(p: Points, radius: float, half: float, *, square: bool = False) -> Distances:
    """An upright cone's or, of square sections, pyramid's: the distance to its planes, a bound."""
    around = np.abs(p[:, :2]).max(1) if square else np.linalg.norm(p[:, :2], axis=1)
    slope = radius / (2 * half)
    side = (around - slope * (half - p[:, 2])) / np.hypot(1, slope)
    return _common(side, -half - p[:, 2], p[:, 2] - half)


def torus(p: Points, around: float, radius: float) -> Distances:
    """A flat-lying torus'."""
    ring = np.stack([np.linalg.norm(p[:, :2], axis=1) - around, p[:, 2]], axis=1)
    distances: Distances = np.linalg.norm(ring, axis=1) - radius
    return distances


def _inside_or_out(d: Float[ndarray, "n k"]) -> Distances:
    distances: Distances = np.linalg.norm(np.maximum(d, 0), axis=1) + np.minimum(d.max(1), 0)
    return distances


def _union(*distances: Distances) -> Distances:
    whole: Distances = np.minimum.reduce(distances)
    return whole


def _common(*distances: Distances) -> Distances:
    whole: Distances = np.maximum.reduce(distances)
    return whole


def _capsule(p: Points) -> Distances:
    q = p.copy()
    q[:, 2] -= np.clip(q[:, 2], -0.5, 0.5)
    return sphere(q, 0.42)


def _legs(p: Points, out: float, half: float, thick: float, at: float) -> Distances:
    """Four legs; where both coordinates are taken without sign there is one."""
    q = np.concatenate([np.abs(p[:, :2]), p[:, 2:]], axis=1)
    return box(q, (thick, thick, half), (out, out, at))


def _table(p: Points) -> Distances:
    return _union(box(p, (0.85, 0.85, 0.12), (0, 0, 0.55)), _legs(p, 0.65, 0.6, 0.12, -0.1))


def _chair(p: Points) -> Distances:
    seat, back = box(p, (0.5, 0.5, 0.1)), box(p, (0.1, 0.5, 0.5), (-0.4, 0, 0.4))
    return _union(seat, back, _legs(p, 0.4, 0.42, 0.1, -0.48))


def _mug(p: Points) -> Distances:
    wall = _common(cylinder(p, 0.55, 0.65), -cylinder(p, 0.4, 0.65, 0.2))
    handle = torus((p - np.array([0.62, 0, 0]))[:, [0, 2, 1]], 0.32, 0.1)
    # None of the handle within the cup.
    return _union(wall, _common(handle, 0.5 - np.linalg.norm(p[:, :2], axis=1)))


def _bowl(p: Points) -> Distances:
    shell = np.abs(sphere(p, 0.8, (0, 0, 0.4))) - 0.1
    return _common(shell, p[:, 2] - 0.4)


def _snowman(p: Points) -> Distances:
    parts = ((0.5, -0.45), (0.35, 0.25), (0.24, 0.72))
    return _union(*(sphere(p, radius, (0, 0, height)) for radius, height in parts))


def _hourglass(p: Points) -> Distances:
    q = np.concatenate([p[:, :2], np.abs(p[:, 2:])], axis=1)
    around = np.linalg.norm(q[:, :2], axis=1)
    side = (around - (0.12 + 0.6 * q[:, 2])) / np.hypot(1, 0.6)
    return _common(side, q[:, 2] - 0.8)


def _cross(p: Points) -> Distances:
    return _union(
        box(p, (0.85, 0.25, 0.25)), box(p, (0.25, 0.85, 0.25)), box(p, (0.25, 0.25, 0.85))
    )


SHAPES: Mapping[str, Callable[[Points], Distances]] = {
    "sphere": lambda p: sphere(p, 0.9),
    "cube": lambda p: box(p, (0.68, 0.68, 0.68)),
    "cylinder": lambda p: cylinder(p, 0.6, 0.8),
    "cone": lambda p: cone(p, 0.8, 0.85),
    "torus": lambda p: torus(p, 0.65, 0.26),
    "capsule": _capsule,
    "pyramid": lambda p: cone(p, 0.8, 0.8, square=True),
    "hourglass": _hourglass,
    "table": _table,
    "chair": _chair,
    "mug": _mug,
    "bowl": _bowl,
    "snowman": _snowman,
    "cross": _cross,
}
"""Signed distances of all shapes, by their words; negative inside."""
BOUNDS: Mapping[str, tuple[float, float, float, float]] = {
    "sphere": (0.0, 0.9, -0.9, 0.9),
    "cube": (0.0, 0.9617, -0.68, 0.68),
    "cylinder": (0.0, 0.6, -0.8, 0.8),
    "cone": (0.0, 0.8, -0.85, 0.85),
    "torus": (0.0, 0.91, -0.26, 0.26),
    "capsule": (0.0, 0.42, -0.92, 0.92),
    "pyramid": (0.0, 1.1314, -0.8, 0.8),
    "hourglass": (0.0, 0.6, -0.8, 0.8),
    "table": (0.0, 1.2021, -0.7, 0.67),
    "chair": (0.0, 0.7072, -0.9, 0.9),
    "mug": (0.245, 0.795, -0.65, 0.65),
    "bowl": (0.0, 0.9, -0.5, 0.4),
    "snowman": (0.0, 0.5, -0.95, 0.96),
    "cross": (0.0, 0.8861, -0.85, 0.85),
}
"""Upright cylinders about shapes: x of the axis (y is 0), radius, least and largest height."""
OPEN = ("torus", "mug")
"""Shapes with a hole through them that is to be seen."""
