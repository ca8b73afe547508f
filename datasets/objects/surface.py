"""Things as Gaussians on a grid, without photos and without fitting: flat ones on the surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from splat.datasets.objects.shapes import BOUNDS, SHAPES
from splat.datasets.objects.words import Thing

GRID = 32
"""Places along an edge of the cube of edge 1 about the origin."""
CELL = 1 / (GRID - 1)
WIDE, THICK = 0.6, 0.2
"""Standard deviations of a Gaussian along the surface and across, in cells."""
OPACITY = 0.95
LIGHT = np.array([0.4, -0.3, 0.86]) / np.linalg.norm([0.4, -0.3, 0.86])
SHADE = 0.62
"""Brightness of what the light does not reach."""
EYE = np.array([0.0, -0.8, 0.6])
"""Where highlights are seen from; they are part of the colours."""
SHINE, SHARP = 0.65, 24
"""Strength of highlights, and how narrow they are."""
PERIODS = {"striped": 0.21, "checkered": 0.26, "dotted": 0.22}
"""Lengths after which patterns repeat, in edges of the cube."""
FILLED = 0.9
"""Share of a cube's edge that is filled by the thing which the cube is about."""
_STEP = 1e-3
_NEWTON = 4
_OFF = 0.05
"""Cells that a Gaussian may be off the surface."""


@dataclass(frozen=True)
class Cube:
    """Where a thing is looked at: what is said of its Gaussians is in the frame of a cube, from
    -0.5 to 0.5, which has this middle and edge in the world."""

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    edge: float = 1.0

    @classmethod
    def about(cls, thing: Thing) -> Cube:
        """One that a thing fills, however it is turned: small things have as many Gaussians as
        large ones then, and holes in them are as many cells wide."""
        out, radius, low, high = BOUNDS[thing.shape]
        x, y, z = thing.scale  # that along y is as along x
        middle = (x * out, 0.0, z * (low + high) / 2) @ _turn(thing)
        edge = max(2 * radius * max(x, y), z * (high - low)) / FILLED
        return cls((float(middle[0]), float(middle[1]), float(middle[2])), edge)

    def world(self, points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
        """Points of its frame in the world."""
        placed: Float[ndarray, "n 3"] = np.array(self.centre) + self.edge * points
        return placed


WORLD = Cube()
"""The cube from -0.5 to 0.5 of the world, in which things lie, but for corners of a few."""


@dataclass(frozen=True)
class Surface:
    """Gaussians of a thing in the frame of a cube, in ascending order of their places."""

    slots: Int[ndarray, "n"]
    """Place of each in the grid, (x * GRID + y) * GRID + z."""
    means: Float[ndarray, "n 3"]
    """In the cube from -0.5 to 0.5."""
    normals: Float[ndarray, "n 3"]
    """Unit, outward."""
    rgb: Float[ndarray, "n 3"]
    """0 to 1."""


def places(slots: Int[ndarray, "*n"], grid: int = GRID) -> Float[ndarray, "*n 3"]:
    """Where places are, in the cube from -0.5 to 0.5."""
    index = np.stack([slots // grid**2, slots // grid % grid, slots % grid], axis=-1)
    return index / (grid - 1) - 0.5


def distance(
    thing: Thing, cube: Cube = WORLD
) -> Callable[[Float[ndarray, "n 3"]], Float[ndarray, "n"]]:
    """A function of points of a cube's frame that is negative inside of a thing and 0 on its
    surface; no distance where the thing is stretched."""
    scale, shape = np.array(thing.scale), SHAPES[thing.shape]
    turn = _turn(thing)
    least = float(scale.min()) / cube.edge
    return lambda points: shape((cube.world(points) @ turn.T) / scale) * least


def of_thing(thing: Thing, cube: Cube = WORLD) -> Surface:
    """Places of a cube within half a cell of the surface of a thing, moved onto it."""
    inside = distance(thing, cube)
    slots = np.arange(GRID**3)
    points = places(slots)
    values = inside(points)
    # A bound on a stretched distance: its slope is no less than the ratio of the scales.
    scale = np.array(thing.scale)
    near = np.abs(values) < CELL * 1.2
    slots, points, values = slots[near], points[near], values[near]
    slope = _gradient(inside, points)
    steep = np.linalg.norm(slope, axis=1)
    near = np.abs(values) <= 0.5 * CELL * np.maximum(steep, 0.2 * scale.min() / scale.max())
    slots, start = slots[near], points[near]
    moved = start.copy()
    for _ in range(_NEWTON):
        slope = _gradient(inside, moved)
        square = np.maximum(np.square(slope).sum(1, keepdims=True), 1e-6)
        moved -= np.clip(inside(moved)[:, None] * slope / square, -CELL, CELL)
    on = np.abs(inside(moved)) < _OFF * CELL
    on &= np.abs(moved - start).max(1) <= CELL
    on &= np.abs(moved).max(1) <= 0.5
    slots, moved = slots[on], moved[on]
    slope = _gradient(inside, moved)
    normals = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
    return Surface(slots, moved, normals, _colours(thing, cube.world(moved), normals))


def _colours(
    thing: Thing, points: Float[ndarray, "n 3"], normals: Float[ndarray, "n 3"]
) -> Float[ndarray, "n 3"]:
    base = np.array(thing.rgb)
    colours = np.broadcast_to(base, points.shape).copy()
    if thing.pattern:
        other = np.array([0.92, 0.92, 0.9]) if base.sum() < 2.2 else np.array([0.3, 0.3, 0.32])
        colours[_marked(thing, points)] = other
    lit = SHADE + (1 - SHADE) * np.maximum(normals @ LIGHT, 0)
    colours *= lit[:, None]
    if thing.finish == "glossy":
        half = LIGHT + EYE / np.linalg.norm(EYE)
        half /= np.linalg.norm(half)
        shine = SHINE * np.maximum(normals @ half, 0) ** SHARP
        colours += (1 - colours) * shine[:, None]
    clipped: Float[ndarray, "n 3"] = np.clip(colours, 0, 1)
    return clipped


def _marked(thing: Thing, points: Float[ndarray, "n 3"]) -> Bool[ndarray, "n"]:
    """What a pattern paints in another colour: less than half of all."""
    own = points @ _turn(thing).T / PERIODS[thing.pattern]
    marked: Bool[ndarray, "n"]
    if thing.pattern == "striped":
        marked = own[:, 2] % 1 < 0.4
    elif thing.pattern == "checkered":
        # Off the middle, so that flat sides do not lie on a border.
        marked = (np.floor(2 * own + 0.25).sum(1) % 2 == 0) & (own[:, 2] % 1 < 0.9)
    else:
        marked = np.linalg.norm(own - np.floor(own) - 0.5, axis=1) < 0.42
    return marked


def _turn(thing: Thing) -> Float[ndarray, "3 3"]:
    c, s = np.cos(thing.yaw), np.sin(thing.yaw)
    return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])


def _gradient(
    inside: Callable[[Float[ndarray, "n 3"]], Float[ndarray, "n"]], points: Float[ndarray, "n 3"]
) -> Float[ndarray, "n 3"]:
    slopes = []
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = _STEP
        slopes.append((inside(points + step) - inside(points - step)) / (2 * _STEP))
    return np.stack(slopes, axis=1)
