"""Vectors as three arrays, one a coordinate: strided access would halve the speed of all drawing.

Everything is numpy and keeps the precision it is given, so that the same code measures in float64
and draws in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Vector = tuple[Array, Array, Array]
"""x, y and z apart."""
Triple = tuple[float, float, float]
Distance = Callable[[Array, Array, Array], Array]
Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.integer[Any]]


def dot(a: Vector | Triple, b: Vector | Triple) -> Array:
    """Scalar products; with a triple on one side, against the same vector for all."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def picked(vector: Vector, index: Indices) -> Vector:
    """Those rows of it."""
    x, y, z = vector
    return x[index], y[index], z[index]


def ahead(origin: Vector | Triple, t: Array | float, direction: Vector) -> Vector:
    """Points at `t` along rays."""
    (x, y, z), (u, v, w) = origin, direction
    return x + t * u, y + t * v, z + t * w


def scattered(whole: Vector, index: Indices, part: Vector) -> None:
    """Make some rows of it those of another."""
    for to, values in zip(whole, part, strict=True):
        to[index] = values


def occurring(numbers: Numbers) -> Iterator[tuple[int, Indices]]:
    """Each number that occurs, ascending, and where."""
    for own in np.unique(numbers):
        yield int(own), np.flatnonzero(numbers == own)


def unit(vector: Vector) -> Vector:
    """The same directions, of length 1."""
    u, v, w = vector
    size = np.maximum(np.sqrt(dot(vector, vector)), 1e-20)
    return u / size, v / size, w / size


def columns(rows: npt.NDArray[Any]) -> Vector:
    """The coordinates of rows [n, 3]."""
    x, y, z = (np.ascontiguousarray(column) for column in rows.T)
    return x, y, z
