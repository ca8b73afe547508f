"""Pictures of the room: the first surface along every ray, its colour and its light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from splat.datasets.tracer.colours import encoded
from splat.datasets.tracer.pictures import Hits, View, lattice, picture
from splat.datasets.tracer.solids import Rays, nearest
from splat.datasets.tracer.vectors import (
    Array,
    Numbers,
    Vector,
    ahead,
    occurring,
    picked,
    scattered,
)
from splat.types import Camera
from worlds.sweep import things, walls
from worlds.sweep.layout import OBJECTS, TRANSIENT, WALLS, person
from worlds.sweep.light import Baked, baked, upon
from worlds.sweep.shapes import Piece, crossing, face

CHUNK = 40_000
"""Rays in flight together: what fits the caches."""
CONTRAST = 0.08
"""Pixels that differ by more from a neighbour are drawn again with more samples."""
EXPOSURE = 1.15


@dataclass(frozen=True)
class Lit(Hits):
    """Where rays end, and the light there; `part` is an index into the scene's pieces."""

    light: Array
    """Linear light that leaves the surface, [n, 3]."""


@dataclass(frozen=True)
class Stage:
    """The pieces that a picture is of, and the light on those that stay."""

    baked: Baked
    guests: tuple[Piece, ...]

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The room first."""
        return (*self.baked.pieces, *self.guests)


def trace(stage: Stage, rays: Rays) -> Lit:
    """The first surface along every ray, and the light from it."""
    room, *solids = stage.pieces
    t = crossing(room, room.local(*rays.eye), room.inward(*rays.direction))
    part = nearest(rays, t, solids, lambda piece, eye, way, _: crossing(piece, eye, way))
    number = np.empty(t.shape, np.uint8)
    normal = (np.empty_like(t), np.empty_like(t), np.empty_like(t))
    light = np.empty((len(t), 3), np.float32)
    for own, mine in occurring(part):
        point = ahead(rays.eye, t[mine], picked(rays.direction, mine))
        number[mine], outer, light[mine] = shaded(stage, own, point)
        scattered(normal, mine, outer)
    return Lit(t, part, number, normal, light)


def shaded(stage: Stage, own: int, point: Vector) -> tuple[Numbers, Vector, Array]:
    """Object, normal and linear light [n, 3] of points on the surface of piece `own`."""
    piece = stage.pieces[own]
    local = piece.local(*point)
    side, u, v, normal = face(piece, local)
    outer = piece.outward(*normal)
    if own:
        number = np.full(len(u), piece.number, np.uint8)
        albedo = np.stack(things.PAINTS[OBJECTS[piece.number]](side, *local), 1)
        guest = piece.number == TRANSIENT
        upon_it = upon(outer) if guest else stage.baked.at(own, side, u, v)
        return number, outer, albedo * upon_it
    number = np.array(WALLS, np.uint8)[side]
    albedo = np.empty((len(u), 3), np.float32)
    for wall, mine in occurring(number):
        albedo[mine] = np.stack(walls.PAINTS[wall](side[mine], *picked(local, mine)), 1)
    share, shine = walls.glow(point)
    light = albedo * stage.baked.at(0, side, u, v)
    return number, outer, light + share[:, None] * (np.stack(shine, 1) - light)


def stage(camera: Camera | None, clutter: bool = True, transient: int | None = None) -> Stage:
    """The room as one camera finds it."""
    guests = () if camera is None or transient is None else person(camera, transient)
    return Stage(baked(clutter), guests)


def render(
    camera: Camera, samples: int = 3, clutter: bool = True, transient: int | None = None
) -> View:
    """Draw the room; where the picture has contrast, a pixel is the mean of `samples` rays.

    `clutter=False` leaves out the objects of `CLUTTER` and their shadows. With a number,
    `transient` puts a person in front of the camera, at a place drawn from it, who casts no shadow.
    Numbers of objects are those of `OBJECTS`.
    """
    step = next(k for k in (2, 3, 5, 7, 11) if np.gcd(k, samples) == 1)
    return picture(
        camera, partial(trace, stage(camera, clutter, transient)), lambda _, hits: hits.light,
        displayed, lattice(samples, step), contrast=CONTRAST, chunk=CHUNK,
    )  # fmt: skip


def displayed(light: Array) -> Array:
    """sRGB in [0, 1] of linear light, highlights rolled off."""
    return encoded(light * np.float32(EXPOSURE))
