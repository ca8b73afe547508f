"""The room and what stands in it: boxes, ellipsoids and cylinders that rays meet in closed form.

World frame: metres, z up, the floor at z = 0, the middle of the room above the origin; +y is
north. Everything is numpy and keeps the precision it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from splat.datasets.tracer.solids import TINY, Axes, Placed, slab, slabs
from splat.datasets.tracer.vectors import Array, Numbers, Triple, Vector, ahead, picked, unit

Kind = Literal["room", "box", "ball", "drum"]

HALF = (2.5, 2.0, 1.3)
"""Half extents of the room."""


@dataclass(frozen=True)
class Piece(Placed):
    """One solid, or the walls around all of them, in a place of its own."""

    number: int
    """Of the object it belongs to: several pieces can make one. For the room, see `WALLS`."""
    kind: Kind
    """`room` is seen from inside; `ball` is an ellipsoid, `drum` an upright cylinder."""
    position: Triple
    half: Triple
    axes: Axes | None = None

    @property
    def faces(self) -> int:
        """A ball has one; a drum its side, bottom and top; boxes -x, +x, -y, +y, -z, +z."""
        return {"room": 6, "box": 6, "ball": 1, "drum": 3}[self.kind]


def crossing(piece: Piece, eye: Vector, direction: Vector) -> Array:
    """Way along rays in its own frame to the first meeting from outside, infinite without one."""
    if piece.kind == "room":
        return slabs(piece.half, eye, direction)[1]
    if piece.kind == "box":
        enter, leave = slabs(piece.half, eye, direction)
    elif piece.kind == "ball":
        enter, leave = _round(piece.half, eye, direction, 3)
    else:
        enter, leave = _round(piece.half, eye, direction, 2)
        low, high = slab(piece.half[2], eye[2], direction[2])
        enter, leave = np.maximum(enter, low), np.minimum(leave, high)
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


def _round(half: Triple, eye: Vector, direction: Vector, axes: int) -> tuple[Array, Array]:
    """Where rays enter and leave an ellipsoid (3 axes) or an endless upright cylinder (2)."""
    o = [a / h for a, h in zip(eye[:axes], half, strict=False)]
    d = [a / h for a, h in zip(direction[:axes], half, strict=False)]
    square = np.maximum(np.asarray(sum(a * a for a in d)), TINY)
    middle = -np.asarray(sum(a * b for a, b in zip(o, d, strict=True))) / square
    # From the nearest point rather than by the discriminant: that loses half the digits.
    miss = sum((a + middle * b) ** 2 for a, b in zip(o, d, strict=True))
    inside = 1 - np.asarray(miss)
    reach = np.sqrt(np.maximum(inside, 0) / square)
    hit = inside > 0
    return np.where(hit, middle - reach, np.inf), np.where(hit, middle + reach, -np.inf)


def face(piece: Piece, point: Vector) -> tuple[Numbers, Array, Array, Vector]:
    """Face, place on it (two numbers in [0, 1]) and outer normal of points of its own surface."""
    x, y, z = (p / h for p, h in zip(point, piece.half, strict=True))
    if piece.kind == "ball":
        normal = unit((x / piece.half[0], y / piece.half[1], z / piece.half[2]))
        return np.zeros(x.shape, np.uint8), _azimuth(x, y), (z.clip(-1, 1) + 1) / 2, normal
    if piece.kind == "drum":
        return _drum_face(x, y, z, np.asarray(piece.half).astype(x.dtype))
    # The plane a point is nearest to, in metres: relative to the half extents thin boards fail.
    gaps = np.stack([(1 - np.abs(p)) * h for p, h in zip((x, y, z), piece.half, strict=True)])
    axis = gaps.argmin(0)
    positive = np.choose(axis, (x, y, z)) > 0
    sign = np.where(positive, 1, -1).astype(x.dtype) * (-1 if piece.kind == "room" else 1)
    a, b, c = (np.where(axis == k, sign, np.zeros_like(sign)) for k in range(3))
    u, v = np.choose(axis, (y, x, x)), np.choose(axis, (z, z, y))
    number = axis * 2 + positive
    return number, (u.clip(-1, 1) + 1) / 2, (v.clip(-1, 1) + 1) / 2, (a, b, c)


def _azimuth(x: Array, y: Array) -> Array:
    turn: Array = np.arctan2(y, x) * (0.5 / np.pi) + 0.5
    return turn.clip(0, 1)


def _drum_face(x: Array, y: Array, z: Array, half: Array) -> tuple[Numbers, Array, Array, Vector]:
    axis = np.sqrt(x * x + y * y)
    gap = (1 - np.abs(z)) * half[2]
    side = np.abs(1 - axis) * half[0] < gap
    number = np.where(side, 0, np.where(z < 0, 1, 2)).astype(np.uint8)
    u = np.where(side, _azimuth(x, y), (x.clip(-1, 1) + 1) / 2)
    v = np.where(side, (z.clip(-1, 1) + 1) / 2, (y.clip(-1, 1) + 1) / 2)
    none, length = np.zeros_like(x), np.maximum(axis, TINY)
    up = np.where(z < 0, -1, 1).astype(x.dtype)
    normal = (
        np.where(side, x / length, none),
        np.where(side, y / length, none),
        np.where(side, none, up),
    )
    return number, u, v, normal


def place(piece: Piece, number: int, u: Array, v: Array) -> tuple[Vector, Vector]:
    """Points of a face in the world and their outer normals: the inverse of `face`."""
    a, b = 2 * u - 1, 2 * v - 1
    none, one = np.zeros_like(a), np.ones_like(a)
    if piece.kind == "ball" or (piece.kind == "drum" and number == 0):
        turn = (u - 0.5) * 2 * np.pi
        width = np.sqrt(np.maximum(1 - b * b, 0)) if piece.kind == "ball" else one
        x, y, z = np.cos(turn) * width, np.sin(turn) * width, b
        flat = none if piece.kind == "drum" else z / piece.half[2]
        n = (x / piece.half[0], y / piece.half[1], flat)
    elif piece.kind == "drum":
        x, y, z = a, b, one * (-1 if number == 1 else 1)
        n = (none, none, z)
    else:
        axis, sign = number // 2, number % 2 * 2 - 1
        x, y, z = ((one * sign, a, b), (a, one * sign, b), (a, b, one * sign))[axis]
        inner = -sign if piece.kind == "room" else sign
        columns = [one * inner if k == axis else none for k in range(3)]
        n = (columns[0], columns[1], columns[2])
    turned = piece.outward(*(c * h for c, h in zip((x, y, z), piece.half, strict=True)))
    return ahead(piece.position, 1, turned), piece.outward(*unit(n))


def hidden(pieces: Sequence[Piece], eye: Vector, direction: Vector, end: Array) -> Array:
    """1 where a piece stands in the way before `end`, else 0; rays start off the surface."""
    found = np.zeros(direction[0].shape, bool)
    for piece in pieces:
        index = piece.beside(eye, direction)
        index = index[~found[index]]
        if not len(index):
            continue
        start = piece.local(*picked(eye, index))
        t = crossing(piece, start, piece.inward(*picked(direction, index)))
        found[index] = t < end[index]
    return found.astype(direction[0].dtype)


def inside(piece: Piece, point: Vector) -> npt.NDArray[np.bool_]:
    """Which points of the world are within a piece; within the room, for the room."""
    x, y, z = (p / h for p, h in zip(piece.local(*point), piece.half, strict=True))
    if piece.kind == "ball":
        return np.asarray(x * x + y * y + z * z < 1)
    if piece.kind == "drum":
        return np.asarray((x * x + y * y < 1) & (np.abs(z) < 1))
    return np.asarray((np.abs(x) < 1) & (np.abs(y) < 1) & (np.abs(z) < 1))
