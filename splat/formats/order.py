"""The order of Gaussians in files that code neighbours together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.formats.limits import CHUNK

_BITS = 14
"""Most bits of a cell's number along an axis."""

_Array = np.ndarray[Any, np.dtype[Any]]


@torch.no_grad()
def spatial_order(means: Float[Tensor, "n 3"]) -> Int[Tensor, "n"]:
    """Rows along a Z-order curve, refined wherever `CHUNK` rows or more share one of its cells.

    Expects finite positions. Cells are cubes, and each crowded one is divided anew by the bounds
    of what lies in it, so a few rows far from all others do not coarsen the order of the rest.
    Rows at the same place keep their order. The result lies on the CPU.
    """
    points = means.detach().float().cpu().T.contiguous().numpy()
    order = np.arange(len(means), dtype=np.int64)
    slots, counts = order.copy(), np.array([len(means)])
    while len(slots):
        slots, counts = _refine(points, order, slots, counts)
    return torch.from_numpy(order)


def _refine(points: _Array, order: _Array, slots: _Array, counts: _Array) -> tuple[_Array, _Array]:
    """Order the slots within each of the groups that they are in, so many slots to a group.

    Returns the slots that share a crowded cell, and how many each such cell has.
    """
    n, rows = len(slots), order[slots]
    # Group, cell and the number of the row share 63 bits: keys that all differ are ordered by the
    # fastest of sorts, and always alike.
    tail = (n - 1).bit_length()
    bits = min(_BITS, (63 - tail - (len(counts) - 1).bit_length()) // 3)
    codes, extents = _codes(np.stack([along[rows] for along in points]), counts, bits)
    keys = np.sort(codes << tail | np.arange(n))
    order[slots] = rows[keys & ((1 << tail) - 1)]
    codes = keys >> tail
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    counts = np.diff(starts, append=n)
    # Rows that all lie at one place cannot be told apart; all others fall into several cells.
    crowded = (counts >= CHUNK) & (extents[codes[starts] >> 3 * bits] > 0)
    return slots[np.repeat(crowded, counts)], counts[crowded]


def _codes(points: _Array, counts: _Array, bits: int) -> tuple[_Array, _Array]:
    """Of each point the group and the cell in it, as one number; and the extents of the groups."""
    starts = np.cumsum(counts) - counts
    low = np.minimum.reduceat(points, starts, axis=1).astype(np.float64)
    extents = (np.maximum.reduceat(points, starts, axis=1) - low).max(0)
    per_unit = (1 << bits) / np.maximum(extents, np.finfo(np.float32).smallest_subnormal)
    group = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    codes = group << 3 * bits
    for axis in range(3):
        cell = ((points[axis] - low[axis][group]) * per_unit[group]).astype(np.int64)
        codes |= _SPREAD[np.minimum(cell, (1 << bits) - 1)] << axis
    return codes, extents


def _spread() -> _Array:
    """Every number of `_BITS` bits with its bits three places apart."""
    numbers = np.arange(1 << _BITS, dtype=np.int64)
    return sum(((numbers >> bit & 1) << 3 * bit for bit in range(_BITS)), np.zeros_like(numbers))


_SPREAD = _spread()
