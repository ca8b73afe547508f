"""Mean shift: the places around which numbers gather."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

ROUNDS = 50
SEEDS = 48
"""Number of cells to start from, the fullest ones."""
LOOKED_AT = 3000
"""Most values that are used, evenly spread."""


def modes(values: Float64[ndarray, "n d"], radius: float, share: float) -> Float64[ndarray, "m d"]:
    """Places that are the mean of all values within `radius` of them, of at least this share.

    Those that hold most come first; of two nearer than the radius the smaller one is dropped. It
    begins in the fullest cells of a grid, draws nothing, and so gives the same each time.
    """
    values = values[:: max(1, -(-len(values) // LOOKED_AT))]
    places = _seeds(values, radius)
    for _ in range(ROUNDS):
        near = _near(values, places, radius)
        moved = (near @ values) / near.sum(1, keepdims=True).clip(1)
        moved = np.where(near.sum(1, keepdims=True) > 0, moved, places)
        done = float(np.abs(moved - places).max(initial=0.0)) < 1e-4 * radius
        # Those that have met go on as one.
        _, first = np.unique(np.rint(moved / (0.01 * radius)), return_index=True, axis=0)
        places = moved[np.sort(first)]
        if done:
            break
    holding = _near(values, places, radius).sum(1)
    kept: list[Float64[ndarray, "d"]] = []
    for i in np.argsort(-holding, kind="stable"):
        apart = all(((places[i] - other) ** 2).sum() > radius**2 for other in kept)
        if holding[i] >= max(2, share * len(values)) and apart:
            kept.append(places[i])
    return np.array(kept).reshape(len(kept), values.shape[1])


def nearest(
    values: Float64[ndarray, "n d"], places: Float64[ndarray, "m d"], radius: float
) -> Int64[ndarray, "n"]:
    """Number of the nearest place within `radius`; -1 where there is none."""
    if not len(places):
        return np.full(len(values), -1, np.int64)
    squared = _squared(values, places)
    return np.where(squared.min(0) <= radius**2, squared.argmin(0), -1).astype(np.int64)


def _squared(
    values: Float64[ndarray, "n d"], places: Float64[ndarray, "m d"]
) -> Float64[ndarray, "m n"]:
    squared = np.zeros((len(places), len(values)))
    for axis in range(values.shape[1]):
        squared += (places[:, axis, None] - values[None, :, axis]) ** 2
    return squared


def _near(
    values: Float64[ndarray, "n d"], places: Float64[ndarray, "m d"], radius: float
) -> Float64[ndarray, "m n"]:
    """1 where a value is within the radius of a place, else 0."""
    return (_squared(values, places) <= radius**2).astype(np.float64)


def _seeds(values: Float64[ndarray, "n d"], radius: float) -> Float64[ndarray, "s d"]:
    """Means of the values in the fullest cells."""
    if not len(values):
        return values
    cells = np.floor(values / radius).astype(np.int64)
    _, which, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    which = which.reshape(-1)
    sums = [np.bincount(which, column, len(counts)) for column in values.T]
    order = np.argsort(-counts, kind="stable")[:SEEDS]
    return np.asarray(np.stack(sums, 1)[order] / counts[order, None])
