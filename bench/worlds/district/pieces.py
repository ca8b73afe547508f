"""What the district is made of: blocks whose sides may lean inwards, and balls.

World frame: metres, z up, streets along x and y, the middle of the district above the origin.
A block with sides that meet in a ridge is a pitched roof, one that leans in all round a hipped one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from splat.datasets.tracer.vectors import Triple

Floats = npt.NDArray[np.floating[Any]]
"""float32, where nothing else is said."""
Codes = npt.NDArray[np.integer[Any]]
Pair = tuple[float, float]

FACES = 6
"""Of a piece: -x, +x, -y, +y, top, bottom; a ball has only the first."""
SKY, GROUND = -1, 0
"""Codes of what is no piece; the face `f` of piece `p` has the code 1 + 6 p + f."""


class Stuff(IntEnum):
    """What a face is made of."""

    STREET = 0
    YARD = 1
    KERB = 2
    WALL = 3
    TILES = 4
    FLAT_ROOF = 5
    PLAIN = 6
    LEAVES = 7
    BARK = 8
    CAR = 9
    PARK = 10
    BRICK = 11


@dataclass(frozen=True)
class Piece:
    """One convex solid and how it is painted."""

    low: Triple
    high: Triple
    """Corners of the box that holds it."""
    sides: tuple[Stuff, Stuff]
    """Of the faces across x, and of those across y."""
    top: Stuff
    colour: Triple
    """Linear, of what it mostly is;"""
    second: Triple
    """and of its frames, joints or trim."""
    seed: int
    inset: Pair = (0.0, 0.0)
    """How far the sides across x, and those across y, lean in from foot to top, metres."""
    ball: bool = False
    """An ellipsoid that fills the box."""


@dataclass(frozen=True)
class Pieces:
    """All of them, in columns; `p` pieces, 6 `p` + 1 faces, the first of which is the ground."""

    low: Floats
    """[p, 3]"""
    high: Floats
    inset: Floats
    """[p, 2]"""
    ball: npt.NDArray[np.bool_]
    planes: npt.NDArray[np.float64]
    """[p, 6, 4]: unit outer normal n and offset d of the planes n x = d."""
    stuff: Codes
    """[faces], `Stuff`."""
    colour: Floats
    """[faces, 3]"""
    second: Floats
    seed: Codes
    """[faces], smaller than 2^15."""
    origin: Floats
    """[faces, 3]: the corner that `across` and `along` start from."""
    across: Floats
    """[faces, 3]: unit, to the right for who stands before a wall."""
    along: Floats
    """[faces, 3]: unit, up."""
    size: Floats
    """[faces, 2]: extent by `across` and `along`, metres."""
    normal: Floats
    """[faces, 3]: unit, outwards; of a ball it depends on the point."""


def packed(pieces: Sequence[Piece]) -> Pieces:
    """The columns of a list of pieces."""
    low, high, inset = (
        np.array([getattr(piece, name) for piece in pieces], np.float64)
        for name in ("low", "high", "inset")
    )
    frames = [_frames(*rows) for rows in zip(low, high, inset, strict=True)]
    normal, origin, across, along, size = (np.stack(column) for column in zip(*frames, strict=True))
    offset = (normal * origin).sum(-1, keepdims=True)
    stuff = [(p.sides[0], p.sides[0], p.sides[1], p.sides[1], p.top, Stuff.PLAIN) for p in pieces]
    return Pieces(
        low.astype(np.float32),
        high.astype(np.float32),
        inset.astype(np.float32),
        np.array([piece.ball for piece in pieces]),
        np.concatenate([normal, offset], -1),
        np.concatenate([[Stuff.STREET], np.ravel(stuff)]).astype(np.uint8),
        _by_face([piece.colour for piece in pieces], (0.1, 0.1, 0.1)),
        _by_face([piece.second for piece in pieces], (0.6, 0.6, 0.6)),
        np.concatenate([[0], np.repeat([piece.seed for piece in pieces], FACES)]).astype(np.int32),
        _flat(origin, (0, 0, 0)),
        _flat(across, (1, 0, 0)),
        _flat(along, (0, 1, 0)),
        _flat(size, (1, 1)),
        _flat(normal, (0, 0, 1)),
    )


def _by_face(values: Sequence[Triple], first: Triple) -> Floats:
    return np.concatenate([[first], np.repeat(np.array(values), FACES, 0)]).astype(np.float32)


def _flat(values: npt.NDArray[np.float64], first: Sequence[float]) -> Floats:
    return np.concatenate([[first], values.reshape(-1, values.shape[-1])]).astype(np.float32)


def _frames(
    low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], inset: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], ...]:
    """Normals, origins, axes and sizes of the faces of one block, [6, 3] and [6, 2]."""
    (x0, y0, z0), (x1, y1, z1), rise = low, high, high[2] - low[2]
    wide, deep = x1 - x0, y1 - y0
    slant = np.hypot(rise, inset)
    (a, b), (c, d) = inset / slant, rise / slant
    normal = [[-c, 0, a], [c, 0, a], [0, -d, b], [0, d, b], [0, 0, 1], [0, 0, -1]]
    origin = [[x0, y1, z0], [x1, y0, z0], [x0, y0, z0], [x1, y1, z0], [x0, y0, z1], [x0, y1, z0]]
    across = [[0, -1, 0], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [1, 0, 0], [1, 0, 0]]
    along = [[a, 0, c], [-a, 0, c], [0, b, d], [0, -b, d], [0, 1, 0], [0, -1, 0]]
    size = [[deep, slant[0]], [deep, slant[0]], [wide, slant[1]], [wide, slant[1]],
            [wide, deep], [wide, deep]]  # fmt: skip
    return tuple(np.array(part, np.float64) for part in (normal, origin, across, along, size))
