"""The still life along rays, and pictures of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from splat.datasets.demo import light, shapes
from splat.datasets.demo.shapes import SOLIDS, Solid
from splat.datasets.tracer.colours import encoded
from splat.datasets.tracer.pictures import Hits, View, lattice, picture
from splat.datasets.tracer.solids import TOLERANCE, Rays, gradient, march, nearest, slabs
from splat.datasets.tracer.vectors import Array, Vector, ahead, dot, occurring, picked, scattered
from splat.types import Camera

CHUNK = 250_000
"""Rays in flight together: what fits the caches."""
CONTRAST = 0.06
"""Pixels that differ by more from a neighbour are drawn again with more samples."""


@dataclass(frozen=True)
class DemoView(View):
    """A picture of the scene with all that is known about it, pixel for pixel.

    Of `objects`, 0 is the room, 1 the plinth, from 2 the things on it.
    """

    @property
    def mask(self) -> UInt8[Tensor, "h w"]:
        """255 on the things, 0 on plinth and room."""
        return (self.objects > 1).to(torch.uint8) * 255


def _meet(solid: Solid, eye: Vector, direction: Vector, t: Array) -> Array:
    """Where rays of its own frame meet the solid before `t`."""
    found = np.full_like(t, np.inf)
    enter, leave = slabs(solid.half, eye, direction)
    enter, leave = np.maximum(enter, 0), np.minimum(leave, t)
    near = np.flatnonzero(enter < leave)
    # Beyond its box a ray has missed the solid, or something else is in front.
    found[near] = march(
        solid.distance, eye, picked(direction, near), enter[near], leave[near] + TOLERANCE
    )
    return found


def _walls(rays: Rays) -> Array:
    """Distance to the room: from where the ray leaves its floor and dome, back to the cove."""
    above, w = rays.eye[2] - shapes.ROOM_FLOOR, rays.direction[2]
    middle = dot(rays.eye, rays.direction)
    dome = np.sqrt(middle * middle + (shapes.ROOM_RADIUS**2 - dot(rays.eye, rays.eye))) - middle
    floor = np.where(w < -1e-6, -above / np.minimum(w, -1e-6), np.inf)
    end = np.minimum(dome, floor)
    return march(shapes.room, rays.eye, rays.direction, end, end + 1)


def _normal(number: int, point: Vector, solids: Sequence[Solid]) -> Vector:
    """Unit, world axes, on the surface of object `number`."""
    if number == 0:
        return gradient(shapes.room, point)
    solid = solids[number - 1]
    return solid.outward(*gradient(solid.distance, solid.local(*point)))


def trace(rays: Rays, solids: Sequence[Solid] = SOLIDS) -> Hits:
    """The first surface along every ray."""
    t = _walls(rays)
    number = nearest(rays, t, solids, _meet)
    normal = (np.empty_like(t), np.empty_like(t), np.empty_like(t))
    for own, mine in occurring(number):
        point = ahead(rays.eye, t[mine], picked(rays.direction, mine))
        scattered(normal, mine, _normal(own, point, solids))
    return Hits(t, number, number, normal)


def _light(rays: Rays, hits: Hits, solids: Sequence[Solid]) -> Array:
    """Linear light along every ray, [n, 3]."""
    point = ahead(rays.eye, hits.t, rays.direction)
    return light.radiance(hits.number, point, hits.normal, rays.direction, solids)


def render(camera: Camera, samples: int = 5, solids: Sequence[Solid] = SOLIDS) -> DemoView:
    """Draw the scene; where it has contrast, a pixel is the mean of `samples` rays."""
    view = picture(
        camera, lambda rays: trace(rays, solids), lambda rays, hits: _light(rays, hits, solids),
        encoded, lattice(samples), contrast=CONTRAST, chunk=CHUNK,
    )  # fmt: skip
    return DemoView(**vars(view))
