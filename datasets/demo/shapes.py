"""The still life as signed distances: solids on a plinth, in a round room that closes the scene.

World frame: z up, top of the plinth at z = 0, units of about a foot. Everything is numpy and keeps
the precision it is given, so that the same code measures in float64 and renders in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Vector = tuple[Array, Array, Array]
"""x, y and z apart: strided access would halve the speed of everything here."""
Triple = tuple[float, float, float]
Distance = Callable[[Array, Array, Array], Array]
Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint8]
"""0 for the room, from 1 for `SOLIDS`."""

PLINTH_RADIUS = 1.32
ROOM_FLOOR = -0.16
ROOM_RADIUS = 5.2
ROOM_COVE = 2.5
"""Width of the blend between the room's floor and its dome."""


def dot(a: Vector | Triple, b: Vector | Triple) -> Array:
    """Scalar products; with a triple on one side, against the same vector for all."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def picked(vector: Vector, index: Indices) -> Vector:
    """Those rows of it."""
    x, y, z = vector
    return x[index], y[index], z[index]


def ahead(origin: Vector | Triple, t: Array | float, direction: Vector) -> Vector:
    """Points at `t` along rays."""
    (x, y, z), (u, v, w) = origin, direction
    return x + t * u, y + t * v, z + t * w


@dataclass(frozen=True)
class Solid:
    """One thing in the scene: an exact or conservative distance in its own frame, and its place."""

    name: str
    distance: Distance
    position: Triple
    half: Triple
    """Half extents of a box about `position`, along its own axes, that holds the solid."""
    axes: tuple[Triple, Triple, Triple] | None = None
    """Its own x, y and z axes in the world; None: those of the world."""

    def inward(self, x: Array, y: Array, z: Array) -> Vector:
        """World directions in the solid's own axes."""
        if self.axes is None:
            return x, y, z
        u, v, w = self.axes
        point = (x, y, z)
        return dot(point, u), dot(point, v), dot(point, w)

    def outward(self, x: Array, y: Array, z: Array) -> Vector:
        """Directions of its own frame in the axes of the world."""
        if self.axes is None:
            return x, y, z
        u, v, w = self.axes
        point = (x, y, z)
        a, b, c = (dot(point, row) for row in zip(u, v, w, strict=True))
        return a, b, c

    def near(self, point: Vector, margin: float) -> Indices:
        """Which world points are within `margin` of its bounding ball."""
        away = ahead(self.position, -1, point)
        reach = self.radius + margin
        return np.flatnonzero(dot(away, away) < reach * reach)

    def beside(self, origin: Vector, direction: Vector | Triple, margin: float = 0.0) -> Indices:
        """Which world lines pass its bounding ball within `margin`."""
        away = ahead(self.position, -1, origin)
        along = dot(away, direction)
        reach = self.radius + margin
        return np.flatnonzero(dot(away, away) - along * along < reach * reach)

    def crossing(
        self, origin: Vector, direction: Vector, margin: float = 0.0
    ) -> tuple[Array, Array]:
        """Where rays of its own frame enter and leave its box, grown by `margin`."""
        enter, leave = np.full_like(direction[0], -np.inf), np.full_like(direction[0], np.inf)
        for o, d, half in zip(origin, direction, self.half, strict=True):
            slope = 1 / np.where(np.abs(d) < 1e-9, d.dtype.type(1e-9), d)
            first, second = (-half - margin - o) * slope, (half + margin - o) * slope
            enter = np.maximum(enter, np.minimum(first, second))
            leave = np.minimum(leave, np.maximum(first, second))
        return enter, leave

    @property
    def radius(self) -> float:
        """Of the ball about `position` that holds its box."""
        a, b, c = self.half
        return math.sqrt(a * a + b * b + c * c)

    def local(self, x: Array, y: Array, z: Array) -> Vector:
        """World points in the solid's own frame."""
        p = self.position
        return self.inward(x - p[0], y - p[1], z - p[2])


def smooth_min(a: Array, b: Array, width: float) -> Array:
    """Quadratic blend of two distances; its gradient is a mean of theirs, so it stays a bound."""
    blend = np.maximum(width - np.abs(a - b), 0) / width
    return np.minimum(a, b) - blend * blend * (width / 4)


def ball(x: Array, y: Array, z: Array, radius: float) -> Array:
    """Sphere about the origin."""
    return np.sqrt(x * x + y * y + z * z) - radius


def across(x: Array, y: Array) -> Array:
    """Length in the plane; solids of revolution are functions of that, from their axis, and z."""
    return np.asarray(np.sqrt(x * x + y * y))


def ring(axis: Array, z: Array, major: float, minor: float) -> Array:
    """Torus."""
    axis = axis - major
    return np.sqrt(axis * axis + z * z) - minor


def block(x: Array, y: Array, z: Array, half: Triple, rounding: float) -> Array:
    """Box with rounded edges; `half` includes the rounding."""
    x, y, z = (np.abs(v) - (h - rounding) for v, h in zip((x, y, z), half, strict=True))
    inside = np.minimum(np.maximum(np.maximum(x, y), z), 0)
    x, y, z = np.maximum(x, 0), np.maximum(y, 0), np.maximum(z, 0)
    return np.sqrt(x * x + y * y + z * z) + inside - rounding


def drum(axis: Array, z: Array, radius: float, half: float, rounding: float) -> Array:
    """Cylinder with rounded edges."""
    a = axis - (radius - rounding)
    b = np.abs(z) - (half - rounding)
    inside: Array = np.minimum(np.maximum(a, b), 0)
    return across(np.maximum(a, 0), np.maximum(b, 0)) + inside - rounding


def round_cone(axis: Array, z: Array, low: float, high: float, length: float) -> Array:
    """Hull of a ball of radius `low` at the origin and one of radius `high` at z = `length`."""
    slope = (low - high) / length
    # Where the nearest point of the flank was born, as a height on the line of ball centres.
    height = z - axis * float(slope / np.sqrt(1 - slope * slope))
    height = np.minimum(np.maximum(height, 0), length)
    radius: Array = low - slope * height
    return across(axis, z - height) - radius


def _vase(x: Array, y: Array, z: Array) -> Array:
    axis, z = across(x, y), z + VASE_MIDDLE
    body = round_cone(axis, z - 0.28, 0.32, 0.22, 0.2)
    neck = round_cone(axis, z - 0.6, 0.12, 0.09, 0.4)
    lip = ring(axis, z - 1.03, 0.125, 0.04)
    outside = smooth_min(smooth_min(body, neck, 0.2), lip, 0.08)
    bore = np.maximum(axis - 0.085, 0.8 - z)
    whole: Array = np.maximum(np.maximum(outside, -bore), -z)
    return whole


def _cone(x: Array, y: Array, z: Array) -> Array:
    z = z + CONE_MIDDLE
    whole: Array = np.maximum(round_cone(across(x, y), z, 0.26, 0.04, 0.66), -z)
    return whole


def _leaning(tilt_degrees: float, heading_degrees: float) -> tuple[Triple, Triple, Triple]:
    """Axes of a solid whose z leans by `tilt` from the vertical towards `heading`."""
    tilt, heading = np.radians(tilt_degrees), np.radians(heading_degrees)
    ct, st, ch, sh = (float(f(a)) for a in (tilt, heading) for f in (np.cos, np.sin))
    return (ct * ch, ct * sh, -st), (-sh, ch, 0.0), (st * ch, st * sh, ct)


BOX_HALF = (0.25, 0.25, 0.25)
VASE_MIDDLE = 0.535
CONE_MIDDLE = 0.35
SUNK = 0.01
"""What stands flat goes into the plinth by this, or its base would be a surface inside."""
PLINTH = Solid(
    "plinth",
    lambda x, y, z: drum(across(x, y), z, PLINTH_RADIUS, 0.08, 0.03),
    (0.0, 0.0, -0.08),
    (PLINTH_RADIUS, PLINTH_RADIUS, 0.08),
)
THINGS = (
    Solid("vase", _vase, (-0.06, 0.26, VASE_MIDDLE - SUNK), (0.33, 0.33, 0.55)),
    Solid(
        "sphere",
        lambda x, y, z: ball(x, y, z, 0.34),
        (0.6, -0.14, 0.34),
        (0.34, 0.34, 0.34),
        _leaning(28, 200),
    ),
    Solid(
        "box",
        lambda x, y, z: block(x, y, z, BOX_HALF, 0.045),
        (-0.52, -0.24, 0.25 - SUNK),
        BOX_HALF,
        _leaning(0, 24),
    ),
    # It leans on the box: these numbers make them touch.
    Solid(
        "ring",
        lambda x, y, z: ring(across(x, y), z, 0.25, 0.085),
        (-0.3466, -0.6294, 0.3057),
        (0.335, 0.335, 0.085),
        _leaning(62, -66),
    ),
    Solid("cone", _cone, (0.56, 0.6, CONE_MIDDLE - SUNK), (0.26, 0.26, CONE_MIDDLE)),
    Solid(
        "egg",
        lambda x, y, z: round_cone(across(x, y), z + 0.06, 0.18, 0.12, 0.14),
        (-0.84, 0.33, 0.1543),
        (0.18, 0.18, 0.24),
        _leaning(115.4, 250),
    ),
    Solid(
        "bead",
        lambda x, y, z: ball(x, y, z, 0.14),
        (0.22, -0.72, 0.14),
        (0.14, 0.14, 0.14),
        _leaning(50, 70),
    ),
)
SOLIDS = (PLINTH, *THINGS)


def room(x: Array, y: Array, z: Array) -> Array:
    """Distance to the walls: a floor that sweeps up into a dome, positive inside."""
    return smooth_min(z - ROOM_FLOOR, -ball(x, y, z, ROOM_RADIUS), ROOM_COVE)


def scene(x: Array, y: Array, z: Array) -> Array:
    """Signed distance to the nearest surface, negative inside solids and beyond the walls."""
    nearest = room(x, y, z)
    for solid in SOLIDS:
        nearest = np.minimum(nearest, solid.distance(*solid.local(x, y, z)))
    return nearest


def by_object(number: Numbers) -> Iterator[tuple[int, Indices]]:
    """Each object that occurs, and where."""
    for own in range(len(SOLIDS) + 1):
        mine = np.flatnonzero(number == own)
        if len(mine):
            yield own, mine
