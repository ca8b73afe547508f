"""Things in a place of their own, signed distances to simple ones, and what rays meet first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from splat.datasets.tracer.vectors import (
    Array,
    Distance,
    Indices,
    Numbers,
    Triple,
    Vector,
    ahead,
    dot,
    picked,
    unit,
)

Axes = tuple[Triple, Triple, Triple]
TINY = 1e-9
MARCHES, BETWEEN = 32, 4
"""Rounds of steps, and steps in a round: rays that arrived are set aside after each round."""
TOLERANCE = 1e-4
"""A ray has arrived at this distance from a surface."""


class Placed:
    """What has a place in the world, and axes of its own."""

    position: Triple
    half: Triple
    """Half extents of a box about `position`, along its own axes, that holds it."""
    axes: Axes | None
    """Its own x, y and z axes in the world; None: those of the world."""

    def inward(self, x: Array, y: Array, z: Array) -> Vector:
        """World directions in its own axes."""
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

    def local(self, x: Array, y: Array, z: Array) -> Vector:
        """World points in its own frame."""
        p = self.position
        return self.inward(x - p[0], y - p[1], z - p[2])

    @property
    def radius(self) -> float:
        """Of the ball about `position` that holds its box."""
        a, b, c = self.half
        return math.sqrt(a * a + b * b + c * c)

    def near(self, point: Vector, margin: float) -> Indices:
        """Which world points are within `margin` of its bounding ball."""
        away = ahead(self.position, -1, point)
        reach = self.radius + margin
        return np.flatnonzero(dot(away, away) < reach * reach)

    def beside(self, origin: Vector, direction: Vector | Triple, margin: float = 0.0) -> Indices:
        """Which world rays pass its bounding ball within `margin`, or start there."""
        away = ahead(self.position, -1, origin)
        along, far = dot(away, direction), dot(away, away)
        reach = (1.001 * self.radius + margin) ** 2
        return np.flatnonzero(((along > 0) & (far - along * along < reach)) | (far < reach))


def leaning(tilt_degrees: float, heading_degrees: float) -> Axes:
    """Axes of what leans by `tilt` from the vertical towards `heading`, which it turns to."""
    tilt, heading = np.radians(tilt_degrees), np.radians(heading_degrees)
    ct, st, ch, sh = (float(f(a)) for a in (tilt, heading) for f in (np.cos, np.sin))
    return (ct * ch, ct * sh, -st), (-sh, ch, 0.0), (st * ch, st * sh, ct)


@dataclass(frozen=True)
class Rays:
    """Unit directions from one eye, or from as many."""

    eye: Vector
    direction: Vector
    to_z: Array
    """Camera depth of a unit of length along the ray."""


Kind = TypeVar("Kind", bound=Placed)


def nearest(
    rays: Rays,
    t: Array,
    solids: Sequence[Kind],
    meet: Callable[[Kind, Vector, Vector, Array], Array],
) -> Numbers:
    """Which solid each ray meets first, counted from 1, before `t`; 0: none. `t` becomes the way.

    `meet` gives ways to one solid, infinite past it, for rays in its own frame: eye, directions,
    and the ways that are known so far.
    """
    found = np.zeros(t.shape, np.int16)
    for own, solid in enumerate(solids, 1):
        index = solid.beside(rays.eye, rays.direction)
        direction = solid.inward(*picked(rays.direction, index))
        way = meet(solid, solid.local(*rays.eye), direction, t[index])
        met = np.flatnonzero(way < t[index])
        t[index[met]], found[index[met]] = way[met], own
    return found


def slab(half: float, origin: Array, direction: Array) -> tuple[Array, Array]:
    """Where rays enter and leave the space between two planes, `half` either side of 0."""
    slope = 1 / np.where(np.abs(direction) < TINY, direction.dtype.type(TINY), direction)
    first, second = (-half - origin) * slope, (half - origin) * slope
    return np.minimum(first, second), np.maximum(first, second)


def slabs(
    half: Triple, origin: Vector, direction: Vector, margin: float = 0.0
) -> tuple[Array, Array]:
    """Where rays enter and leave a box about 0, grown by `margin`."""
    bounds = [slab(h + margin, o, d) for h, o, d in zip(half, origin, direction, strict=True)]
    (enter, leave), *rest = bounds
    for first, last in rest:
        enter, leave = np.maximum(enter, first), np.minimum(leave, last)
    return enter, leave


def march(
    distance: Distance,
    eye: Vector,
    direction: Vector,
    t: Array,
    end: Array,
    *,
    tolerance: float = TOLERANCE,
    rounds: int = MARCHES,
    between: int = BETWEEN,
) -> Array:
    """Distance along each ray to the surface, from `t` on; infinite where it is past `end`."""
    found = np.full_like(t, np.inf)
    index = np.arange(len(t))
    for _ in range(rounds):
        for _ in range(between):
            d = distance(*ahead(eye, t, direction))
            t = t + d
        arrived = np.abs(d) < tolerance
        found[index[arrived]] = t[arrived]
        going = np.flatnonzero(~arrived & (t < end))
        if not len(going):
            break
        index, t, end = index[going], t[going], end[going]
        direction = picked(direction, going)
    return found


def gradient(distance: Distance, point: Vector, step: float = 1e-3) -> Vector:
    """Unit gradient of a distance, from four points around (a tetrahedron)."""
    x, y, z = point
    u, v, w = (np.zeros_like(x) for _ in range(3))
    h = step
    for a, b, c in ((h, -h, -h), (-h, -h, h), (-h, h, -h), (h, h, h)):
        d = distance(x + a, y + b, z + c)
        u, v, w = u + d * a, v + d * b, w + d * c
    return unit((u, v, w))


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
