"""Sphere tracing: which surface a ray meets, and pictures of the scene."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.datasets.demo import light, shapes
from splat.datasets.demo.shapes import (
    SOLIDS,
    Array,
    Distance,
    Indices,
    Numbers,
    Solid,
    Vector,
    ahead,
    by_object,
    dot,
    picked,
)
from splat.types import Camera

CHUNK = 250_000
"""Rays in flight together: what fits the caches."""
TOLERANCE = 1e-4
"""A ray has arrived at this distance from a surface."""
MARCHES, BETWEEN = 32, 4
"""Rounds of steps, and steps in a round: rays that arrived are set aside after each round."""
CONTRAST = 0.06
"""Pixels that differ by more from a neighbour are drawn again with more samples."""


@dataclass(frozen=True)
class Rays:
    """Unit directions from one eye."""

    eye: Vector
    direction: Vector
    to_z: Array
    """Camera depth of a unit of length along the ray."""


@dataclass(frozen=True)
class Hits:
    """Where rays end: every ray does, for the room is closed."""

    t: Array
    number: Numbers
    normal: Vector
    """Unit, towards the eye's side."""


@dataclass(frozen=True)
class DemoView:
    """A picture of the scene with all that is known about it, pixel for pixel."""

    image: UInt8[Tensor, "h w 3"]
    """sRGB, antialiased."""
    depth: Float[Tensor, "h w"]
    """Camera z of the surface met through the pixel's centre; always finite, the room is closed."""
    normals: Float[Tensor, "h w 3"]
    """World axes, unit, facing the camera; through the pixel's centre."""
    objects: UInt8[Tensor, "h w"]
    """Through the pixel's centre: 0 the room, 1 the plinth, from 2 the things on it."""

    @property
    def mask(self) -> UInt8[Tensor, "h w"]:
        """255 on the things, 0 on plinth and room."""
        return (self.objects > 1).to(torch.uint8) * 255


def rays(camera: Camera, u: Array, v: Array) -> Rays:
    """Rays through image positions in pixels (the first pixel's centre is at 0.5, 0.5)."""
    pose = camera.world_to_camera.double().numpy()
    K = camera.K.double().numpy()
    x = (u - float(K[0, 2])) / float(K[0, 0])
    y = (v - float(K[1, 2])) / float(K[1, 1])
    to_z = 1 / np.sqrt(x * x + y * y + 1)
    a, b, c = ((x * float(r[0]) + y * float(r[1]) + float(r[2])) * to_z for r in pose[:3, :3].T)
    eye = -pose[:3, :3].T @ pose[:3, 3]
    x, y, z = (e.astype(a.dtype) for e in eye[:, None])
    return Rays((x, y, z), (a, b, c), to_z)


def _march(distance: Distance, eye: Vector, direction: Vector, t: Array, end: Array) -> Array:
    """Distance along each ray to the surface, from `t` on; infinite where it is past `end`."""
    found = np.full_like(t, np.inf)
    index = np.arange(len(t))
    x, y, z = eye
    u, v, w = direction
    for _ in range(MARCHES):
        for _ in range(BETWEEN):
            d = distance(x + t * u, y + t * v, z + t * w)
            t = t + d
        arrived = np.abs(d) < TOLERANCE
        found[index[arrived]] = t[arrived]
        going = np.flatnonzero(~arrived & (t < end))
        if not len(going):
            break
        index, t, end = index[going], t[going], end[going]
        u, v, w = picked((u, v, w), going)
    return found


def _meet(solid: Solid, rays: Rays, t: Array) -> tuple[Indices, Array]:
    """The rays that meet the solid before `t`, and where."""
    index = solid.beside(rays.eye, rays.direction)
    eye = solid.local(*rays.eye)
    direction = solid.inward(*picked(rays.direction, index))
    enter, leave = solid.crossing(eye, direction)
    enter, leave = np.maximum(enter, 0), np.minimum(leave, t[index])
    near = np.flatnonzero(enter < leave)
    index = index[near]
    # Beyond its box a ray has missed the solid, or something else is in front.
    found = _march(
        solid.distance, eye, picked(direction, near), enter[near], leave[near] + TOLERANCE
    )
    met = np.flatnonzero(found < t[index])
    return index[met], found[met]


def _walls(rays: Rays) -> Array:
    """Distance to the room: from where the ray leaves its floor and dome, back to the cove."""
    above, w = rays.eye[2] - shapes.ROOM_FLOOR, rays.direction[2]
    middle = dot(rays.eye, rays.direction)
    dome = np.sqrt(middle * middle + (shapes.ROOM_RADIUS**2 - dot(rays.eye, rays.eye))) - middle
    floor = np.where(w < -1e-6, -above / np.minimum(w, -1e-6), np.inf)
    end = np.minimum(dome, floor)
    return _march(shapes.room, rays.eye, rays.direction, end, end + 1)


def _gradient(distance: Distance, point: Vector) -> Vector:
    """Unit gradient of a distance, from four points around (a tetrahedron)."""
    x, y, z = point
    h = 1e-3
    corners = ((h, -h, -h), (-h, -h, h), (-h, h, -h), (h, h, h))
    u, v, w = (np.zeros_like(x) for _ in range(3))
    for a, b, c in corners:
        d = distance(x + a, y + b, z + c)
        u, v, w = u + d * a, v + d * b, w + d * c
    size = np.maximum(np.sqrt(dot((u, v, w), (u, v, w))), 1e-20)
    return u / size, v / size, w / size


def _normal(number: int, point: Vector) -> Vector:
    """Unit, world axes, on the surface of object `number`."""
    if number == 0:
        return _gradient(shapes.room, point)
    solid = SOLIDS[number - 1]
    return solid.outward(*_gradient(solid.distance, solid.local(*point)))


def trace(rays: Rays) -> Hits:
    """The first surface along every ray."""
    t = _walls(rays)
    number = np.zeros(t.shape, np.uint8)
    for own, solid in enumerate(SOLIDS, 1):
        index, found = _meet(solid, rays, t)
        t[index], number[index] = found, own
    normal = (np.empty_like(t), np.empty_like(t), np.empty_like(t))
    for own, mine in by_object(number):
        point = ahead(rays.eye, t[mine], picked(rays.direction, mine))
        for whole, part in zip(normal, _normal(own, point), strict=True):
            whole[mine] = part
    return Hits(t, number, normal)


def _colours(rays: Rays, hits: Hits) -> Array:
    """Linear light along every ray, [n, 3]."""
    point = ahead(rays.eye, hits.t, rays.direction)
    return light.radiance(hits.number, point, hits.normal, rays.direction)


def _contrasts(image: Array, number: Numbers) -> npt.NDArray[np.bool_]:
    """Pixels beside which the picture changes fast, or the object does."""
    strong = np.zeros(number.shape, bool)
    for a, b in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1])):
        jump = (np.abs(image[a] - image[b]).max(-1) > CONTRAST) | (number[a] != number[b])
        strong[a] |= jump
        strong[b] |= jump
    return strong


def render(camera: Camera, samples: int = 5) -> DemoView:
    """Draw the scene; where it has contrast, a pixel is the mean of `samples` rays."""
    h, w = camera.height, camera.width
    v, u = (a.ravel().astype(np.float32) for a in np.mgrid[:h, :w])
    colour = np.empty((h * w, 3), np.float32)
    depth, number = np.empty(h * w, np.float32), np.empty(h * w, np.uint8)
    normals = np.empty((h * w, 3), np.float32)
    for start in range(0, h * w, CHUNK):
        part = slice(start, start + CHUNK)
        through = rays(camera, u[part] + np.float32(0.5), v[part] + np.float32(0.5))
        hits = trace(through)
        colour[part] = _colours(through, hits)
        depth[part], number[part] = hits.t * through.to_z, hits.number
        normals[part] = np.stack(hits.normal, 1)
    display = light.encoded(colour).reshape(h, w, 3)
    again = np.flatnonzero(_contrasts(display, number.reshape(h, w)))
    if samples > 1:
        display.reshape(-1, 3)[again] = _averaged(camera, u[again], v[again], samples)
    image = np.round(display * 255).astype(np.uint8)
    return DemoView(
        torch.from_numpy(image),
        torch.from_numpy(depth.reshape(h, w)),
        torch.from_numpy(normals.reshape(h, w, 3)),
        torch.from_numpy(number.reshape(h, w)),
    )


def _averaged(camera: Camera, u: Array, v: Array, samples: int) -> Array:
    """Display values of pixels as the mean light of a lattice of rays, [n, 3]."""
    across, down = _lattice(samples)
    result = np.empty((len(u), 3), np.float32)
    for start in range(0, len(u), CHUNK // samples):
        part = slice(start, start + CHUNK // samples)
        through = rays(camera, (u[part, None] + across).ravel(), (v[part, None] + down).ravel())
        colour = _colours(through, trace(through))
        result[part] = light.encoded(colour.reshape(-1, samples, 3).mean(1))
    return result


def _lattice(count: int) -> tuple[Array, Array]:
    """Offsets in a pixel, all different across and all different down, around its centre."""
    steps = [k for k in range(1, count + 1) if math.gcd(k, count) == 1]
    step = min(steps, key=lambda k: abs(k - 0.382 * count))
    order = np.arange(count)
    across, down = ((o + 0.5) / count for o in (order, order * step % count))
    return across.astype(np.float32), down.astype(np.float32)
