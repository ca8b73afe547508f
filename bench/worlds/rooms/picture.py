"""The room as cameras see it: flat surfaces, painted by material, in the frame of the sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from splat.datasets.tracer.cameras import looking, standing, towards
from splat.datasets.tracer.colours import encoded
from splat.datasets.tracer.pictures import Hits, View, picture
from splat.datasets.tracer.solids import Rays
from splat.datasets.tracer.vectors import Array, Indices, ahead, columns, occurring
from splat.types import Camera, Points
from worlds.rooms.paint import PAINTS
from worlds.rooms.shapes import Room, Surface, inside

FIELD_OF_VIEW = 78.0
"""Degrees, across."""
CLEAR = 0.6
"""Metres from a camera to the nearest wall, at least."""
AHEAD = 1.5
"""Metres that a camera sees straight ahead, at least; else it looks the other way."""
LAMPS = 0.45
"""Metres that lamps hang below the ceiling."""
AMBIENT, LAMP = 0.42, 1.15
"""Light from everywhere, and of a lamp at one metre."""
SHADE, DEEP = 0.35, 0.3
"""How much darker it is along floor and ceiling, and how far that reaches, metres."""
CHUNK = 40_000
"""Rays in flight together."""
NUDGE = 1e-9
"""Rays that slip between two surfaces are turned by so much."""


@dataclass(frozen=True)
class _Frame:
    """A surface's plane: a point, two axes and the normal into the room, and its outline."""

    origin: np.ndarray
    across: np.ndarray
    up: np.ndarray
    normal: np.ndarray
    outline: np.ndarray

    def local(self, point: np.ndarray) -> tuple[Array, Array]:
        """Coordinates in the plane of points [n, 3]: those that paint and outline are in."""
        return point @ self.across, point @ self.up


def cameras(room: Room, count: int, width: int, height: int, seed: int = 0) -> list[Camera]:
    """Views from all over the room, at 1.3 to 1.7 m, in all directions; pictures are upright."""
    generator = np.random.default_rng([seed, 3])
    low, high = room.plan.min(0), room.plan.max(0)
    poses: list[np.ndarray] = []
    while len(poses) < count:
        eye = np.array([*generator.uniform(low, high), generator.uniform(1.3, 1.7)])
        if room.clearance(eye[None])[0] < CLEAR:
            continue
        heading = (len(poses) + generator.uniform(-0.3, 0.3)) * np.pi * (3 - np.sqrt(5))
        pitch = generator.uniform(-0.3, 0.2)
        forward = towards(heading, 0)
        t, _ = _met(room, np.repeat(eye[None], 2, 0), np.stack([forward, -forward]))
        if t[0] < AHEAD and t[1] > t[0]:
            heading += np.pi
        poses.append(looking(eye, towards(heading, pitch)))
    return standing(poses, width, height, FIELD_OF_VIEW)


def render(room: Room, camera: Camera, samples: int = 2) -> View:
    """Draw the room; a pixel is the mean of `samples` x `samples` rays, in linear light.

    Numbers of objects are indices into `Room.surfaces`.
    """
    across, down = (np.indices((samples, samples)).reshape(2, -1) + 0.5) / samples
    normals = np.stack([frame(surface).normal for surface in room.surfaces])

    def trace(rays: Rays) -> Hits:
        eye = np.broadcast_to(np.stack(rays.eye, 1), (len(rays.to_z), 3))
        t, which = _met(room, eye, np.stack(rays.direction, 1))
        return Hits(t, which, which, columns(normals[which]))

    def light(rays: Rays, hits: Hits) -> Array:
        return _lit(room, np.stack(ahead(rays.eye, hits.t, rays.direction), 1), hits.number)

    return picture(
        camera, trace, light, encoded, (across, down), contrast=-1, chunk=CHUNK,
        precision=np.float64,
    )  # fmt: skip


def points(room: Room, count: int, seed: int = 0, noise: float = 0.004) -> Points:
    """Coloured points on the surfaces, as many per square metre everywhere.

    `noise` is the standard deviation of a coordinate, metres.
    """
    generator = np.random.default_rng([seed, 4])
    frames = [frame(surface) for surface in room.surfaces]
    area = np.array([surface.area for surface in room.surfaces])
    places, which = [], []
    for i, many in enumerate(generator.multinomial(count, area / area.sum())):
        low, high = frames[i].outline.min(0), frames[i].outline.max(0)
        kept = np.zeros((0, 2))
        while len(kept) < many:
            drawn = generator.uniform(low, high, (2 * many + 8, 2))
            kept = np.concatenate([kept, drawn[inside(frames[i].outline, *drawn.T)]])
        a, b = kept[:many].T
        offset = frames[i].origin @ frames[i].normal * frames[i].normal
        places.append(a[:, None] * frames[i].across + b[:, None] * frames[i].up + offset)
        which.append(np.full(many, i))
    point, number = np.concatenate(places), np.concatenate(which)
    colour = encoded(_lit(room, point, number))
    order = generator.permutation(count)
    point = point + generator.normal(0, noise, point.shape)
    return Points(torch.from_numpy(point[order]).float(), torch.from_numpy(colour[order]).float())


def frame(surface: Surface) -> _Frame:
    """The plane of a surface: walls along the horizon and up, floors along x and y."""
    corners = surface.corners
    if np.ptp(corners[:, 2]) == 0:
        across, up = np.eye(3)[:2]
        normal = np.array([0.0, 0.0, 1.0 if corners[0, 2] == 0 else -1.0])
    else:
        up = np.array([0.0, 0.0, 1.0])
        normal = np.cross(corners[1] - corners[0], up)
        normal /= np.linalg.norm(normal)
        across = np.cross(up, normal)
    outline = np.stack([corners @ across, corners @ up], 1)
    return _Frame(corners[0], across, up, normal, outline)


def _met(room: Room, eye: np.ndarray, direction: np.ndarray) -> tuple[Array, Indices]:
    """Distances to the first surface along rays [n, 3], and its number."""
    t = np.full(len(eye), np.inf)
    which = np.zeros(len(eye), np.int64)
    for i, surface in enumerate(room.surfaces):
        plane = frame(surface)
        towards = direction @ plane.normal
        with np.errstate(divide="ignore", invalid="ignore"):
            far = ((plane.origin - eye) @ plane.normal) / towards
        near = np.flatnonzero((towards < 0) & (far > 0) & (far < t))
        met = eye[near] + far[near, None] * direction[near]
        mine = near[inside(plane.outline, *plane.local(met))]
        t[mine], which[mine] = far[mine], i
    if len(lost := np.flatnonzero(np.isinf(t))):
        turned = direction[lost] + NUDGE * np.array([1.0, 0.7, -0.4])
        t[lost], which[lost] = _met(room, eye[lost], turned)
    return t, which


def _lit(room: Room, point: np.ndarray, which: np.ndarray) -> Array:
    """Linear light from points on surfaces, [n, 3]: paint under lamps, dim along the edges."""
    light = np.empty((len(point), 3))
    lamps = _lamps(room)
    for i, mine in occurring(which):
        surface = room.surfaces[i]
        plane, here = frame(surface), point[mine]
        shine = np.full(len(mine), AMBIENT)
        for lamp in lamps:
            way = lamp - here
            square = (way**2).sum(1) + 0.3
            shine += LAMP * np.maximum(way @ plane.normal, 0) / square**1.5
        flat = plane.normal[2] != 0
        rim = room.clearance(here) if flat else np.minimum(here[:, 2], room.height - here[:, 2])
        shine *= 1 - SHADE * np.exp(-np.maximum(rim, 0) / DEEP)
        albedo = np.stack(PAINTS[surface.material.name](*plane.local(here)), 1)
        light[mine] = albedo * shine[:, None]
    return light


def _lamps(room: Room) -> list[np.ndarray]:
    """Over the floor every three metres or so, clear of the walls."""
    low, high = room.plan.min(0), room.plan.max(0)
    many = np.maximum(np.round((high - low) / 3.0), 1).astype(int)
    grid = [low + (high - low) * (np.array(cell) + 0.5) / many for cell in np.ndindex(*many)]
    kept = [xy for xy in grid if room.clearance(xy[None])[0] > 0.4]
    return [np.array([*xy, room.height - LAMPS]) for xy in kept]
