"""Light in the room: from the window and the panel, with soft shadows, and what walls give back.

Everything is matte, so the light on a place is the same from wherever it is seen. It is found once
for a grid of places on every surface and read off between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from splat.datasets.tracer.vectors import Array, Numbers, Vector, ahead, dot, picked
from worlds.sweep.layout import PANEL, PANEL_MIDDLE, WINDOW, pieces
from worlds.sweep.shapes import HALF, Piece, hidden, place

PITCH = 0.06
"""Distance of places for which light is found, metres, at most."""
LEAST, MOST = 4, 90
"""Places along a face."""
LIFT = 2e-3
"""Rays towards the light start off the surface by this, metres."""
REACH = 0.9
"""How far from a surface others still take its light from the walls, metres."""
WINDOW_COLOUR = (2.7, 2.95, 3.3)
PANEL_COLOUR = (8.2, 7.3, 6.1)
AMBIENT = (0.44, 0.42, 0.38)
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Sheet:
    """Places on one face: its grid lies in `Baked.light` from `start` on, row after row."""

    start: int
    across: int
    down: int


@dataclass(frozen=True)
class Baked:
    """Light on the surfaces of all pieces."""

    pieces: tuple[Piece, ...]
    sheets: tuple[tuple[Sheet, ...], ...]
    """By piece and face."""
    light: npt.NDArray[np.float32]
    """[n, 3] linear."""

    def at(self, piece: int, number: Numbers, u: Array, v: Array) -> Array:
        """Light at places of a piece's faces, [n, 3]."""
        grid = np.array([(s.start, s.across, s.down) for s in self.sheets[piece]], np.int32)
        start, across, down = grid[number].T
        a, b = u * (across - 1), v * (down - 1)
        i = np.minimum(a.astype(np.int32), across - 2)
        j = np.minimum(b.astype(np.int32), down - 2)
        s, t = (a - i)[:, None], (b - j)[:, None]
        first = start + j * across + i
        low = self.light[first] * (1 - s) + self.light[first + 1] * s
        high = self.light[first + across] * (1 - s) + self.light[first + across + 1] * s
        return np.asarray(low * (1 - t) + high * t, np.float32)


@lru_cache(maxsize=2)
def baked(clutter: bool) -> Baked:
    """Light on the room with or without its clutter; takes a second or two, once."""
    everything = pieces(clutter)
    sheets, points, normals, start = [], [], [], 0
    for piece in everything:
        own = []
        for number in range(piece.faces):
            across, down = _size(piece, number)
            v, u = (a.ravel() for a in np.mgrid[0 : 1 : down * 1j, 0 : 1 : across * 1j])
            # At the very rim a place could count as lying on the next face.
            where, normal = place(piece, number, *(0.5 + (w - 0.5) * 0.996 for w in (u, v)))
            points.append(np.stack(where))
            normals.append(np.stack(normal))
            own.append(Sheet(start, across, down))
            start += across * down
        sheets.append(tuple(own))
    x, y, z = np.concatenate(points, 1).astype(np.float32)
    a, b, c = np.concatenate(normals, 1).astype(np.float32)
    return Baked(everything, tuple(sheets), _light(everything[1:], (x, y, z), (a, b, c)))


def _size(piece: Piece, number: int) -> tuple[int, int]:
    """Places across and down a face."""
    a, b, c = piece.half
    if piece.kind == "ball" or (piece.kind == "drum" and number == 0):
        wide, high = np.pi * a, c
    elif piece.kind == "drum":
        wide, high = a, b
    else:
        wide, high = ((b, c), (a, c), (a, b))[number // 2]
    across, down = (int(np.clip(np.ceil(2 * k / PITCH), LEAST, MOST)) + 1 for k in (wide, high))
    return across, down


def _light(solids: tuple[Piece, ...], point: Vector, normal: Vector) -> npt.NDArray[np.float32]:
    eye = ahead(point, LIFT, normal)
    total = np.zeros((len(point[0]), 3), np.float32)
    for lamp, facing, area, colour in _lamps():
        share = np.zeros_like(point[0])
        for sample in lamp:
            share += _direct(solids, eye, normal, sample, facing)
        total += (share * (area / len(lamp)))[:, None] * np.array(colour, np.float32)
    total += _open(solids, eye, normal)[:, None] * np.array(AMBIENT, np.float32)
    return total


def _lamps() -> tuple[
    tuple[Array, tuple[float, float, float], float, tuple[float, float, float]], ...
]:
    """Of window and panel: points that stand for it [n, 3], where it faces, m^2, colour."""
    k = np.arange(20)
    s, t = (k + 0.5) / len(k), (k * GOLDEN + 0.5) % 1
    low, high, foot, top = WINDOW
    window = np.stack([0 * s + HALF[0] - 0.02, low + s * (high - low), foot + t * (top - foot)], 1)
    left, right, near, far = PANEL
    a, b = PANEL_MIDDLE
    panel = np.stack(
        [a + left + s * (right - left), b + near + t * (far - near), 0 * s + 2 * HALF[2] - 0.02], 1
    )
    return (
        (window, (-1.0, 0.0, 0.0), (high - low) * (top - foot), WINDOW_COLOUR),
        (panel, (0.0, 0.0, -1.0), (right - left) * (far - near), PANEL_COLOUR),
    )


def _direct(
    solids: tuple[Piece, ...],
    eye: Vector,
    normal: Vector,
    lamp: Array,
    facing: tuple[float, float, float],
) -> Array:
    """Light of a small lamp of one square metre on surfaces, over pi."""
    x, y, z = (np.float32(c) - e for c, e in zip(lamp, eye, strict=True))
    far = np.sqrt(x * x + y * y + z * z)
    towards = (x / far, y / far, z / far)
    # A lamp touches the wall it is in: nearer than this it would be a hot spot.
    strength = np.maximum(dot(towards, normal), 0) * np.maximum(-dot(facing, towards), 0)
    strength = strength / (np.maximum(far, 0.25) ** 2 * np.pi)
    lit = np.flatnonzero(strength > 1e-4)
    shade = hidden(solids, picked(eye, lit), picked(towards, lit), far[lit] - 0.01)
    result: Array = np.zeros_like(far)
    result[lit] = strength[lit] * (1 - shade)
    return result


def _open(solids: tuple[Piece, ...], eye: Vector, normal: Vector) -> Array:
    """Share of the room that surfaces see past what is near, weighted by the cosine."""
    count = 40
    k = np.arange(count)
    rise, turn = np.sqrt((k + 0.5) / count), 2 * np.pi * ((k * GOLDEN) % 1)
    up = np.sqrt(1 - rise * rise)
    # Any two directions across the normal will do, as long as they turn smoothly with it.
    sign = np.where(normal[2] < 0, -1, 1).astype(normal[0].dtype)
    f = -1 / (sign + normal[2])
    g = normal[0] * normal[1] * f
    first = (1 + sign * normal[0] ** 2 * f, sign * g, -sign * normal[0])
    second = (g, sign + normal[1] ** 2 * f, -normal[1])
    share = np.zeros_like(eye[0])
    for p, q, r in zip(np.cos(turn) * rise, np.sin(turn) * rise, up, strict=True):
        a, b, c = (
            np.float32(p) * i + np.float32(q) * j + np.float32(r) * n
            for i, j, n in zip(first, second, normal, strict=True)
        )
        share += 1 - 0.9 * hidden(solids, eye, (a, b, c), np.full_like(a, REACH))
    return share / count * _corners(eye)


def _corners(eye: Vector) -> Array:
    """Walls darken towards each other."""
    share = np.ones_like(eye[0])
    for p, middle, half in zip(eye, (0.0, 0.0, HALF[2]), HALF, strict=True):
        gap = half - np.abs(p - middle)
        share = share * np.where(gap < 0.01, 1, 1 - 0.3 * np.exp(-np.maximum(gap, 0) / 0.25))
    return share


def upon(normal: Vector) -> Array:
    """Light on somebody who only came by, whom no places are kept for, [n, 3]."""
    key = 0.5 + 0.5 * (0.45 * normal[0] + 0.75 * normal[2])
    return np.asarray(key[:, None] * np.array(AMBIENT, np.float32) * 1.5, np.float32)
