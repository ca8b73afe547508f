"""What is known of a view, pixel for pixel, by tracing rays through the exact distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.datasets.tracer import solids
from splat.datasets.tracer.pictures import pixels, rays
from splat.datasets.tracer.vectors import Array, Distance, Vector, ahead, dot, picked
from splat.types import Camera
from worlds.studio.materials import FINISHES
from worlds.studio.shapes import RADIUS, SHAPES, normal

TOLERANCE = 1e-5
"""A ray has arrived at this distance from the surface, and goes on for `LAST` steps."""
LAST = 8
STEPS = 2000
"""More than a ray needs that passes the outline of one part by `TOLERANCE` and meets another."""


@dataclass(frozen=True)
class Maps:
    """Shape and material through the pixels' centres; zeros beside the object."""

    mask: Bool[Tensor, "h w"]
    """Where the object is."""
    depth: Float[Tensor, "h w"]
    """Camera z."""
    normals: Float[Tensor, "h w 3"]
    """World axes, unit, outward."""
    albedo: Float[Tensor, "h w 3"]
    """Base colour, linear."""
    roughness: Float[Tensor, "h w"]
    metallic: Float[Tensor, "h w"]


def march(distance: Distance, eye: Vector, direction: Vector) -> Array:
    """Way along each ray to the surface, infinite where it passes; `eye` is outside `RADIUS`."""
    nearest = -dot(eye, direction)
    over = np.asarray(dot(eye, eye)) - nearest * nearest
    half = np.sqrt(np.maximum(RADIUS * RADIUS - over, 0))
    found = np.full_like(nearest, np.inf)
    index = np.flatnonzero(over < RADIUS * RADIUS)
    t, end = (nearest - half)[index], (nearest + half)[index]
    towards = picked(direction, index)
    found[index] = solids.march(
        distance, eye, towards, t, end, tolerance=TOLERANCE, rounds=STEPS, between=1
    )
    hit = np.flatnonzero(np.isfinite(found))
    t, towards = found[hit], picked(direction, hit)
    for _ in range(LAST):
        t = t + distance(*ahead(eye, t, towards))
    found[hit] = t
    return found


def maps(name: str, camera: Camera) -> Maps:
    """All that is known of the object `name` in a view."""
    distance, h, w = SHAPES[name], camera.height, camera.width
    u, v = pixels(camera, np.float64)
    through = rays(camera, u + 0.5, v + 0.5)
    t = march(distance, through.eye, through.direction)
    hit = np.flatnonzero(np.isfinite(t))
    point = ahead(through.eye, t[hit], picked(through.direction, hit))
    finish = FINISHES[name](*point)

    def drawn(values: Vector | Array) -> Tensor:
        columns = np.stack(values, 1) if isinstance(values, tuple) else values
        full = np.zeros((h * w, *columns.shape[1:]), np.float32)
        full[hit] = columns
        return torch.from_numpy(full.reshape(h, w, *columns.shape[1:]))

    return Maps(
        torch.from_numpy(np.isfinite(t).reshape(h, w)),
        drawn(t[hit] * through.to_z[hit]),
        drawn(normal(distance, point)),
        drawn(finish.albedo),
        drawn(finish.roughness),
        drawn(finish.metallic),
    )
