"""Light on the surfaces: a soft key light, a sky, what hides them, and a mild shine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splat.datasets.demo.colours import surfaces
from splat.datasets.demo.shapes import SOLIDS, Solid
from splat.datasets.tracer.solids import slabs
from splat.datasets.tracer.vectors import Array, Numbers, Triple, Vector, ahead, dot, picked

KEY: Triple = (-0.4883, -0.3906, 0.7803)
"""Direction to the key light, unit."""
KEY_COLOUR: Triple = (2.5, 2.2, 1.85)
SKY: Triple = (0.62, 0.7, 0.82)
GROUND: Triple = (0.42, 0.32, 0.24)
REACH = 0.4
"""How far from a surface others still take its light from the sky."""
PENUMBRA = 7.0
"""Distance to the caster over half width of the soft edge of its shadow."""
MISS = 0.2
"""Rays that miss the box of a solid by more are out of its penumbra."""
SHADOW_ROUNDS = 6
LIFT = 0.004
"""Shadow rays start off the surface by this."""


def openness(point: Vector, normal: Vector, solids: Sequence[Solid] = SOLIDS) -> Array:
    """Share of the sky that a surface sees: how empty the balls are that touch it from outside."""
    share = np.ones_like(point[0])
    # Smaller balls lie within the largest, so who does not reach that one hides nothing.
    middle = ahead(point, REACH, normal)
    for solid in solids:
        index = solid.near(middle, REACH)
        local, towards = solid.local(*picked(point, index)), solid.inward(*picked(normal, index))
        hidden = np.zeros_like(local[0])
        for step in (0.08, 0.2, 0.45, 1.0):
            distance = solid.distance(*ahead(local, step * REACH, towards))
            hidden += np.clip(1 - distance / (step * REACH), 0, 1.2)
        share[index] *= np.clip(1 - 0.19 * hidden, 0.12, 1)
    return share


def _passing(solid: Solid, point: Vector, towards: Triple) -> Array:
    """Share of the key light that passes a solid on the way to points in its own frame.

    The nearest miss along the ray, relative to its distance, tells how much of the lamp is hidden.
    """
    a, b, c = (np.full_like(point[0], k) for k in towards)
    enter, leave = slabs(solid.half, point, (a, b, c), MISS)
    share = np.ones_like(enter)
    index = np.flatnonzero(leave > np.maximum(enter, 0.01))
    x, y, z = picked(point, index)
    t, leave = np.maximum(enter[index], 0.01), leave[index]
    u, v, w = towards
    for _ in range(SHADOW_ROUNDS):
        least = np.ones_like(t)
        for _ in range(4):
            distance = solid.distance(x + t * u, y + t * v, z + t * w)
            least = np.minimum(least, 0.5 + 0.5 * PENUMBRA * distance / t)
            t = t + np.clip(distance * 0.8, 0.015, 0.2)
        share[index] = np.minimum(share[index], least)
        going = np.flatnonzero((t < leave) & (least > 0))
        if not len(going):
            break
        index, t, leave = index[going], t[going], leave[going]
        x, y, z = picked((x, y, z), going)
    share = np.maximum(share, 0)
    return share * share * (3 - 2 * share)


def unshadowed(point: Vector, normal: Vector, casters: Sequence[Solid]) -> Array:
    """Share of the key light that `casters` let through to a surface."""
    share = np.ones_like(point[0])
    lifted = ahead(point, LIFT, normal)
    for solid in casters:
        index = solid.beside(lifted, KEY, MISS)
        u, v, w = (float(k) for k in solid.inward(*(np.asarray(k) for k in KEY)))
        share[index] *= _passing(solid, solid.local(*picked(lifted, index)), (u, v, w))
    return share


def environment(direction: Vector, sharpness: Array) -> Vector:
    """Light from afar, as a polished surface mirrors it: a sky, and a round soft box."""
    up = np.clip(direction[2] * 0.5 + 0.5, 0, 1)
    box = 5.0 * np.exp(sharpness * (dot(direction, KEY) - 1))
    r, g, b = (
        0.8 * (low + up * (high - low)) + box * key
        for low, high, key in zip(GROUND, SKY, KEY_COLOUR, strict=True)
    )
    return r, g, b


def radiance(
    number: Numbers,
    point: Vector,
    normal: Vector,
    view: Vector,
    solids: Sequence[Solid] = SOLIDS,
) -> Array:
    """Linear light that leaves surfaces of objects `number` against the rays `view`, [n, 3]."""
    albedo, gloss, sharpness = surfaces(number, point, solids)
    open_ = openness(point, normal, solids)
    key = _key(number, point, normal, solids)
    up = np.clip(normal[2] * 0.5 + 0.5, 0, 1)
    along = dot(normal, view)
    fresnel = 0.05 + 0.5 * np.clip(1 + along, 0, 1) ** 4
    shine = gloss * fresnel * open_
    seen = environment(ahead(view, -2 * along, normal), sharpness)
    light = np.empty((len(number), 3), key.dtype)
    for i, (low, high) in enumerate(zip(GROUND, SKY, strict=True)):
        diffuse = open_ * (low + up * (high - low)) * 0.75 + KEY_COLOUR[i] * key
        light[:, i] = albedo[i] * diffuse + shine * seen[i]
    return light


def _key(number: Numbers, point: Vector, normal: Vector, solids: Sequence[Solid]) -> Array:
    """Irradiance of the key light, 1 where it falls straight on a surface."""
    facing = dot(normal, KEY)
    key = np.zeros_like(facing)
    lit = np.flatnonzero((number > 0) & (facing > 0))
    key[lit] = facing[lit] * unshadowed(picked(point, lit), picked(normal, lit), solids[1:])
    # A room lit only from one side would be half dark: its walls take the key light wrapped.
    walls = np.flatnonzero(number == 0)
    passed = unshadowed(picked(point, walls), picked(normal, walls), solids)
    key[walls] = (0.45 + 0.3 * facing[walls]) * (0.35 + 0.65 * passed)
    return key
