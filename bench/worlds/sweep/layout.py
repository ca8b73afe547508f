"""What stands where: furniture that stays, clutter that can be left out, a person passing by.

A wall with bricks and pictures, one with a window, one with a shelf and a door; the fourth is bare.
"""

from __future__ import annotations

import numpy as np

from splat.datasets.tracer.solids import leaning
from splat.datasets.tracer.vectors import Triple
from splat.types import Camera
from worlds.sweep.shapes import HALF, Kind, Piece

OBJECTS = (
    *("floor", "ceiling", "brick wall", "window wall", "shelf wall", "bare wall"),
    *("rug", "table", "cabinet", "sofa", "lamp", "shelf", "books", "boxes"),
    *("carton", "ball", "bag", "bottle", "person"),
)
"""Names of the numbers in `View.objects`."""
CLUTTER = tuple(OBJECTS.index(name) for name in ("carton", "ball", "bag", "bottle"))
"""Numbers of what `clutter=False` leaves out."""
TRANSIENT = OBJECTS.index("person")
"""Number of what stands in some of the photos only."""
WALLS = tuple(
    OBJECTS.index(name)
    for name in ("bare wall", "window wall", "shelf wall", "brick wall", "floor", "ceiling")
)
"""Numbers of the room's faces: -x, +x, -y, +y, -z, +z."""

WINDOW = (-1.1, 0.5, 0.95, 2.1)
"""In the wall at +x: y from and to, z from and to."""
PANEL = (-0.9, 0.9, -0.25, 0.25)
"""The light in the ceiling: x from and to, y from and to."""
PANEL_MIDDLE = (0.5, 0.2)
TABLE_TOP = 0.75


def _piece(name: str, kind: Kind, centre: Triple, half: Triple, heading: float = 0.0) -> Piece:
    axes = leaning(0, heading) if heading else None
    return Piece(OBJECTS.index(name), kind, centre, half, axes)


ROOM = Piece(0, "room", (0.0, 0.0, HALF[2]), HALF)
_TABLE = (
    _piece("table", "box", (1.75, -0.35, TABLE_TOP - 0.02), (0.45, 0.75, 0.02)),
    *(
        _piece("table", "box", (1.75 + a * 0.39, -0.35 + b * 0.69, 0.365), (0.03, 0.03, 0.365))
        for a in (-1, 1)
        for b in (-1, 1)
    ),
)
_SOFA = (
    _piece("sofa", "box", (-0.7, 1.53, 0.21), (0.86, 0.4, 0.21)),
    _piece("sofa", "box", (-0.7, 1.85, 0.42), (0.86, 0.13, 0.42)),
    *(_piece("sofa", "box", (x, 1.53, 0.29), (0.1, 0.42, 0.29)) for x in (-1.64, 0.24)),
    _piece("sofa", "ball", (-1.2, 1.63, 0.6), (0.24, 0.1, 0.2), 12),
)
_LAMP = (
    _piece("lamp", "drum", (-2.1, 1.6, 0.015), (0.15, 0.15, 0.015)),
    _piece("lamp", "drum", (-2.1, 1.6, 0.74), (0.016, 0.016, 0.74)),
    _piece("lamp", "ball", (-2.1, 1.6, 1.58), (0.18, 0.18, 0.18)),
)
_BOARDS = (0.06, 0.5, 0.94, 1.38, 1.88)
"""Heights of the shelf's boards."""
_SHELF = (
    *(_piece("shelf", "box", (x, -1.84, 0.95), (0.02, 0.15, 0.95)) for x in (-1.62, -0.18)),
    *(_piece("shelf", "box", (-0.9, -1.84, z), (0.7, 0.15, 0.018)) for z in _BOARDS),
)
_BOOKS = (
    _piece("books", "box", (-1.2, -1.86, 0.658), (0.38, 0.11, 0.14)),
    _piece("books", "box", (-0.62, -1.86, 1.083), (0.4, 0.1, 0.125)),
    _piece("books", "box", (-1.28, -1.86, 1.538), (0.3, 0.11, 0.14)),
)
_BOXES = (
    _piece("boxes", "box", (-0.48, -1.84, 0.618), (0.2, 0.13, 0.1)),
    _piece("boxes", "box", (-1.3, -1.84, 0.208), (0.24, 0.13, 0.13), 3),
    _piece("boxes", "box", (-0.66, -1.84, 0.188), (0.22, 0.12, 0.11), -4),
    _piece("boxes", "box", (-0.5, -1.84, 1.498), (0.16, 0.12, 0.1), 6),
    _piece("boxes", "drum", (-1.34, -1.85, 1.048), (0.09, 0.09, 0.09)),
)
FURNITURE = (
    _piece("rug", "box", (-0.1, -0.15, 0.006), (1.15, 0.8, 0.006), 5),
    *_TABLE,
    _piece("cabinet", "box", (2.24, 1.42, 0.5), (0.25, 0.45, 0.5)),
    *_SOFA,
    *_LAMP,
    *_SHELF,
    *_BOOKS,
    *_BOXES,
)
"""What stays."""
LITTER = (
    _piece("carton", "box", (1.1, 1.2, 0.19), (0.26, 0.2, 0.19), 25),
    _piece("ball", "ball", (1.62, 0.08, TABLE_TOP + 0.13), (0.13, 0.13, 0.13), 40),
    _piece("bag", "ball", (-1.5, -0.55, 0.26), (0.24, 0.16, 0.27), 65),
    _piece("bottle", "drum", (1.55, -0.75, TABLE_TOP + 0.11), (0.045, 0.045, 0.11)),
    _piece("bottle", "drum", (1.55, -0.75, TABLE_TOP + 0.25), (0.016, 0.016, 0.03)),
)
"""The pieces of `CLUTTER`."""


def pieces(clutter: bool = True) -> tuple[Piece, ...]:
    """The room first, then what stands in it."""
    return (ROOM, *FURNITURE, *(LITTER if clutter else ()))


def person(camera: Camera, number: int) -> tuple[Piece, ...]:
    """Somebody in front of the camera; where and how tall is drawn from `number`."""
    draw = np.random.default_rng([6174, number])
    forward, eye = camera.world_to_camera[2, :2].double().numpy(), camera.centre.double().numpy()
    turn = np.arctan2(forward[1], forward[0]) + np.radians(draw.uniform(-24, 24))
    away = draw.uniform(1.0, 1.5)
    x = float(np.clip(eye[0] + away * np.cos(turn), -2.2, 2.2))
    y = float(np.clip(eye[1] + away * np.sin(turn), -1.7, 1.7))
    size = float(draw.uniform(0.92, 1.05))
    parts: tuple[tuple[Kind, float, Triple], ...] = (
        ("drum", 0.76, (0.2, 0.2, 0.56)),
        ("ball", 0.2, (0.2, 0.2, 0.2)),
        ("ball", 1.32, (0.2, 0.2, 0.2)),
        ("ball", 1.63, (0.095, 0.095, 0.13)),
    )
    return tuple(
        Piece(TRANSIENT, kind, (x, y, z * size), (a * size, b * size, c * size))
        for kind, z, (a, b, c) in parts
    )
