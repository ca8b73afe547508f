"""Directions of floors and walls, from the normals of points."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray
from scipy.spatial import cKDTree

Vec = Float64[ndarray, "3"]

NEAR_UP = np.radians(15)
"""Largest angle to the cameras' up of a floor's normal, and of a wall to that direction, radians.
"""
SHARP = np.radians(4)
"""Largest angle between normals that agree, radians."""
FLOOR_SHARE, WALL_SHARE = 0.05, 0.25
"""Least share of the flat places that must be floor, or wall. Of directions drawn at random 0.002
and 0.07 would be."""
MOST_POINTS, NEIGHBOURS = 6000, 16
"""Most points at which a normal is estimated, and neighbours that it is fitted to."""
FLAT = 0.05
"""Largest share of the variance of the neighbours along the normal of a flat place."""


def normals_of(points: Float64[ndarray, "m 3"]) -> Float64[ndarray, "k 3"]:
    """Normals, of either sign, at points with a flat neighbourhood."""
    if len(points) < 10 * NEIGHBOURS:
        return np.empty((0, 3))
    some = np.random.default_rng(0).permutation(len(points))[:MOST_POINTS]
    near = points[cKDTree(points).query(points[some], k=NEIGHBOURS)[1]]
    off = near - near.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", off, off))
    flat: Bool[ndarray, "n"] = values[:, 0] <= FLAT * values.sum(1)
    # Points on a line have no plane.
    flat &= values[:, 1] >= 0.1 * values[:, 2]
    return np.asarray(vectors[flat, :, 0])


def floor_normal(normals: Float64[ndarray, "k 3"], up: Vec) -> Vec | None:
    """The mode of the normals near `up`, where enough of them agree."""
    near = normals[np.abs(normals @ up) >= np.cos(NEAR_UP)]
    if len(near) < 30:
        return None
    near = near * np.sign(near @ up)[:, None]
    starts = near[:: max(1, len(near) // 200)]
    dense = (starts @ near.T >= np.cos(SHARP)).sum(1)
    mode: Vec = starts[int(dense.argmax())]
    for _ in range(20):
        off = 1 - near @ mode
        mode = _unit(np.exp(-off / (1 - np.cos(SHARP / 2)))[:, None] * near)
    inside = int((near @ mode >= np.cos(SHARP)).sum())
    return mode if inside >= max(30, FLOOR_SHARE * len(normals)) else None


def walls_axis(normals: Float64[ndarray, "k 3"], up: Vec) -> Vec | None:
    """The axis perpendicular to most level normals, where these are many and of two walls."""
    near = normals[np.abs(normals @ up) <= np.sin(NEAR_UP)]
    if len(near) < 60:
        return None
    axis = up
    for _ in range(20):
        weight = np.exp(-0.5 * (near @ axis / np.sin(SHARP / 2)) ** 2)
        values, vectors = np.linalg.eigh((weight[:, None] * near).T @ near)
        if values[1] < 0.05 * values[2]:
            return None
        axis = towards(vectors[:, 0], up)
    inside = int((np.abs(near @ axis) <= np.sin(SHARP)).sum())
    enough = inside >= max(60, WALL_SHARE * len(normals)) and axis @ up >= np.cos(NEAR_UP)
    return axis if enough else None


def _unit(vectors: Float64[ndarray, "n 3"]) -> Vec:
    total = vectors.sum(0)
    unit: Vec = total / np.linalg.norm(total)
    return unit


def towards(axis: Vec, up: Vec) -> Vec:
    """The axis with the sign that points towards `up`."""
    return axis if axis @ up >= 0 else -axis
