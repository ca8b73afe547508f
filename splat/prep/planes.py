"""Floors and walls among points: which way their normals point."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray
from scipy.spatial import cKDTree

Vec = Float64[ndarray, "3"]

NEAR_UP = np.radians(15)
"""How far from the cameras' up floors and walls are looked for,"""
SHARP = np.radians(4)
"""and how sharply their normals must agree."""
FLOOR_SHARE, WALL_SHARE = 0.05, 0.25
"""Shares of the flat places that must be floor, or wall, to be believed. Of directions drawn at
random 0.002 and 0.07 would be."""
MOST_POINTS, NEIGHBOURS = 6000, 16
"""Places at which a normal is looked for, and the points it is fitted to."""
FLAT = 0.05
"""Largest share of the variance of such points that lies across a flat place."""


def normals_of(points: Float64[ndarray, "m 3"]) -> Float64[ndarray, "k 3"]:
    """Normals, of either sign, where points lie on something flat."""
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
    """The direction near `up` in which most normals point, where enough of them do."""
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
    """The direction across most normals that are level, where these are many and of two walls."""
    near = normals[np.abs(normals @ up) <= np.sin(NEAR_UP)]
    if len(near) < 60:
        return None
    found = up
    for _ in range(20):
        weight = np.exp(-0.5 * (near @ found / np.sin(SHARP / 2)) ** 2)
        values, vectors = np.linalg.eigh((weight[:, None] * near).T @ near)
        if values[1] < 0.05 * values[2]:
            return None
        found = towards(vectors[:, 0], up)
    inside = int((np.abs(near @ found) <= np.sin(SHARP)).sum())
    enough = inside >= max(60, WALL_SHARE * len(normals)) and found @ up >= np.cos(NEAR_UP)
    return found if enough else None


def _unit(vectors: Float64[ndarray, "n 3"]) -> Vec:
    total = vectors.sum(0)
    found: Vec = total / np.linalg.norm(total)
    return found


def towards(axis: Vec, up: Vec) -> Vec:
    """The axis, of the sign that is nearer to `up`."""
    return axis if axis @ up >= 0 else -axis
