"""Pictures of the room: the first surface along every ray, its colour and its light."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.datasets.demo.light import encoded
from splat.datasets.demo.shapes import Array, Indices, Vector, ahead, picked
from splat.datasets.demo.trace import Rays, rays
from splat.types import Camera
from worlds.sweep import things, walls
from worlds.sweep.layout import OBJECTS, TRANSIENT, WALLS, person
from worlds.sweep.light import Baked, baked, upon
from worlds.sweep.shapes import Numbers, Piece, beside, crossing, face

CHUNK = 40_000
"""Rays in flight together: what fits the caches."""
CONTRAST = 0.08
"""Pixels that differ by more from a neighbour are drawn again with more samples."""
EXPOSURE = 1.15


@dataclass(frozen=True)
class SweepView:
    """A picture of the room with all that is known about it, pixel for pixel."""

    image: UInt8[Tensor, "h w 3"]
    """sRGB, antialiased where it has contrast."""
    depth: Float[Tensor, "h w"]
    """Camera z of the surface met through the pixel's centre, metres; always finite."""
    normals: Float[Tensor, "h w 3"]
    """World axes, unit, facing the camera; through the pixel's centre."""
    objects: UInt8[Tensor, "h w"]
    """Numbers of `OBJECTS`, through the pixel's centre."""


@dataclass(frozen=True)
class Hits:
    """Where rays end: every ray does."""

    t: Array
    piece: npt.NDArray[np.int16]
    """Index into the scene's pieces."""
    number: npt.NDArray[np.uint8]
    """Of the object."""
    normal: Vector
    """Unit, facing the eye."""
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


def trace(stage: Stage, rays: Rays) -> Hits:
    """The first surface along every ray, and the light from it."""
    room = stage.pieces[0]
    t = crossing(room, room.local(*rays.eye), room.inward(*rays.direction))
    piece = np.zeros(t.shape, np.int16)
    for own, solid in enumerate(stage.pieces[1:], 1):
        index = beside(solid, rays.eye, rays.direction)
        direction = solid.inward(*picked(rays.direction, index))
        found = crossing(solid, solid.local(*rays.eye), direction)
        met = np.flatnonzero(found < t[index])
        t[index[met]], piece[index[met]] = found[met], own
    number = np.empty(t.shape, np.uint8)
    normal = (np.empty_like(t), np.empty_like(t), np.empty_like(t))
    light = np.empty((len(t), 3), np.float32)
    for own in np.unique(piece):
        mine = np.flatnonzero(piece == own)
        point = ahead(rays.eye, t[mine], picked(rays.direction, mine))
        number[mine], outer, light[mine] = shaded(stage, int(own), point)
        for whole, part in zip(normal, outer, strict=True):
            whole[mine] = part
    return Hits(t, piece, number, normal, light)


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
    for wall in np.unique(number):
        mine = np.flatnonzero(number == wall)
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
) -> SweepView:
    """Draw the room; where the picture has contrast, a pixel is the mean of `samples` rays.

    `clutter=False` leaves out the objects of `CLUTTER` and their shadows. With a number,
    `transient` puts a person in front of the camera, at a place drawn from it, who casts no shadow.
    """
    found, h, w = stage(camera, clutter, transient), camera.height, camera.width
    v, u = (a.ravel().astype(np.float32) for a in np.mgrid[:h, :w])
    display = np.empty((h * w, 3), np.float32)
    depth, normals = np.empty(h * w, np.float32), np.empty((h * w, 3), np.float32)
    number, piece = np.empty(h * w, np.uint8), np.empty(h * w, np.int16)
    for start in range(0, h * w, CHUNK):
        part = slice(start, start + CHUNK)
        through = rays(camera, u[part] + np.float32(0.5), v[part] + np.float32(0.5))
        hits = trace(found, through)
        display[part] = displayed(hits.light)
        depth[part] = hits.t * through.to_z
        number[part], piece[part] = hits.number, hits.piece
        normals[part] = np.stack(hits.normal, 1)
    if samples > 1:
        again = _contrasts(display.reshape(h, w, 3), piece.reshape(h, w))
        display[again] = _averaged(found, camera, u[again], v[again], samples)
    return SweepView(
        torch.from_numpy(np.round(display * 255).astype(np.uint8).reshape(h, w, 3)),
        torch.from_numpy(depth.reshape(h, w)),
        torch.from_numpy(normals.reshape(h, w, 3)),
        torch.from_numpy(number.reshape(h, w)),
    )


def displayed(light: Array) -> Array:
    """sRGB in [0, 1] of linear light, highlights rolled off."""
    return encoded(light * np.float32(EXPOSURE))


def _contrasts(image: Array, piece: npt.NDArray[np.int16]) -> Indices:
    """Pixels beside which the picture changes fast, or the piece does."""
    strong = np.zeros(piece.shape, bool)
    for a, b in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1])):
        jump = (np.abs(image[a] - image[b]).max(-1) > CONTRAST) | (piece[a] != piece[b])
        strong[a] |= jump
        strong[b] |= jump
    return np.flatnonzero(strong)


def _averaged(found: Stage, camera: Camera, u: Array, v: Array, samples: int) -> Array:
    """Display values of pixels as the mean light of a lattice of rays, [n, 3]."""
    order = np.arange(samples)
    step = next(k for k in (2, 3, 5, 7, 11) if math.gcd(k, samples) == 1)
    across, down = (
        ((o + 0.5) / samples).astype(np.float32) for o in (order, order * step % samples)
    )
    result = np.empty((len(u), 3), np.float32)
    size = max(CHUNK // samples, 1)
    for start in range(0, len(u), size):
        part = slice(start, start + size)
        through = rays(camera, (u[part, None] + across).ravel(), (v[part, None] + down).ravel())
        light = trace(found, through).light
        result[part] = displayed(light.reshape(-1, samples, 3).mean(1))
    return result
