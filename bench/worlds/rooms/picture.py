"""The room as cameras see it: flat surfaces, painted by material, in the frame of the sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.datasets.demo.light import encoded
from splat.datasets.demo.shapes import Array, Indices
from splat.datasets.demo.trace import rays
from splat.types import Camera, Points
from worlds.rooms.paint import PAINTS
from worlds.rooms.shapes import Room, Surface

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
NUDGE = 1e-9
"""Rays that slip between two surfaces are turned by so much."""


@dataclass(frozen=True)
class RoomView:
    """A picture of a room, and what it shows."""

    image: UInt8[Tensor, "h w 3"]
    """sRGB, antialiased."""
    depth: Float[Tensor, "h w"]
    """Camera z through the pixel's centre, metres."""
    surfaces: UInt8[Tensor, "h w"]
    """Index into `Room.surfaces`, through the pixel's centre."""


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
    focal = 0.5 * width / np.tan(np.radians(FIELD_OF_VIEW) / 2)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]).float()
    generator = np.random.default_rng([seed, 3])
    low, high = room.plan.min(0), room.plan.max(0)
    found: list[Camera] = []
    while len(found) < count:
        eye = np.array([*generator.uniform(low, high), generator.uniform(1.3, 1.7)])
        if room.clearance(eye[None])[0] < CLEAR:
            continue
        heading = (len(found) + generator.uniform(-0.3, 0.3)) * np.pi * (3 - np.sqrt(5))
        pitch = generator.uniform(-0.3, 0.2)
        forward = np.array([np.cos(heading), np.sin(heading), 0.0])
        t, _ = _met(room, np.repeat(eye[None], 2, 0), np.stack([forward, -forward]))
        if t[0] < AHEAD and t[1] > t[0]:
            heading += np.pi
        pose = torch.from_numpy(_pose(eye, heading, pitch)).float()
        found.append(Camera(pose, K, width, height, index=len(found)))
    return found


def render(room: Room, camera: Camera, samples: int = 2) -> RoomView:
    """Draw the room; a pixel is the mean of `samples` x `samples` rays, in linear light."""
    h, w = camera.height, camera.width
    v, u = (each.ravel().astype(np.float64) for each in np.mgrid[:h, :w])
    light = np.zeros((h * w, 3))
    for i in range(samples * samples):
        off = (np.array(divmod(i, samples)) + 0.5) / samples
        light += _lit(room, *_seen(room, camera, u + off[0], v + off[1])[:2])
    _, which, depth = _seen(room, camera, u + 0.5, v + 0.5)
    image = np.round(encoded(light / samples**2) * 255).astype(np.uint8)
    return RoomView(
        torch.from_numpy(image.reshape(h, w, 3)),
        torch.from_numpy(depth.reshape(h, w).astype(np.float32)),
        torch.from_numpy(which.reshape(h, w).astype(np.uint8)),
    )


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
            kept = np.concatenate([kept, drawn[_within(frames[i].outline, *drawn.T)]])
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


def _seen(room: Room, camera: Camera, u: Array, v: Array) -> tuple[Array, Indices, Array]:
    """Points [n, 3], numbers of surfaces and camera z of what rays through a picture meet."""
    through = rays(camera, u, v)
    eye = np.broadcast_to(np.stack(through.eye, 1).astype(np.float64), (len(u), 3))
    direction = np.stack(through.direction, 1)
    t, which = _met(room, eye, direction)
    return eye + t[:, None] * direction, which, t * through.to_z


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
        mine = near[_within(plane.outline, *plane.local(met))]
        t[mine], which[mine] = far[mine], i
    if len(lost := np.flatnonzero(np.isinf(t))):
        turned = direction[lost] + NUDGE * np.array([1.0, 0.7, -0.4])
        t[lost], which[lost] = _met(room, eye[lost], turned)
    return t, which


def _within(outline: np.ndarray, a: Array, b: Array) -> np.ndarray:
    """Whether points of a plane are inside a polygon: even and odd crossings."""
    inside = np.zeros(len(a), bool)
    for (x, y), (x2, y2) in zip(outline, np.roll(outline, -1, 0), strict=True):
        if y == y2:
            continue
        over = (y > b) != (y2 > b)
        inside ^= over & (a < x + (b - y) * ((x2 - x) / (y2 - y)))
    return inside


def _lit(room: Room, point: np.ndarray, which: Indices) -> Array:
    """Linear light from points on surfaces, [n, 3]: paint under lamps, dim along the edges."""
    light = np.empty((len(point), 3))
    lamps = _lamps(room)
    for i, surface in enumerate(room.surfaces):
        mine = np.flatnonzero(which == i)
        if not len(mine):
            continue
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


def _pose(eye: np.ndarray, heading: float, pitch: float) -> np.ndarray:
    """World to camera."""
    across = np.array([np.cos(heading), np.sin(heading), 0.0])
    forward = np.cos(pitch) * across + np.array([0.0, 0.0, np.sin(pitch)])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = [right, np.cross(forward, right), forward]
    pose[:3, 3] = -pose[:3, :3] @ eye
    return pose
