"""A k-d tree whose halves are equal to a row: leaves of bounded counts, groups of neighbours.

Every node is cut at the middle row along the axis on which it reaches farthest, so where nodes of
a depth begin follows from the number of rows alone. Keys of one sort hold node, coordinate and
row, so none are equal and the order is the same whatever sorts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

_Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 1 << 16
"""Rows of a node below which all nodes of a depth are cut in one sort."""


def depth_for(n: int, most: int) -> int:
    """Halvings after which no node of `n` rows has more than `most`."""
    depth = 0
    while -(-n // (1 << depth)) > most:
        depth += 1
    return depth


def starts_of(n: int, depth: int) -> _Array:
    """Where the 2^depth nodes of a depth begin, and `n`: [2^depth + 1] int64."""
    starts = np.array([0, n], np.int64)
    for _ in range(depth):
        both = np.empty(2 * len(starts) - 1, np.int64)
        both[::2], both[1::2] = starts, (starts[:-1] + starts[1:]) // 2
        starts = both
    return starts


def leaf_order(positions: _Array, depth: int) -> _Array:
    """Rows of positions [n, 3] such that the nodes of `depth` lie one behind the other: [n] int64.

    Expects finite values. Within a leaf the order says nothing.
    """
    along = np.ascontiguousarray(positions.T, np.float32)
    order = np.arange(len(positions), dtype=np.int64)
    top = min(depth, depth_for(len(positions), BLOCK))
    for level in range(top):
        starts = starts_of(len(positions), level)
        for low, high in pairwise(starts):
            _cut(along, order[low:high])
    starts = starts_of(len(positions), top)
    for low, high in pairwise(starts):
        rows = order[low:high]
        rows[:] = rows[halving_order(along[:, rows], depth - top)]
    return order


def group_cuts(starts: _Array, fewest: int, doublings: int) -> list[_Array]:
    """Where nodes begin, cut by cut, from leaves at `starts` [m + 1] down to groups.

    Each leaf is first cut into `fewest` nodes, halves of as many of these as can be, and each of
    those into halves as often as `doublings` says. All groups of a leaf are equal to a row.
    """
    many, deepest = fewest << doublings, (fewest - 1).bit_length()
    halves = [np.arange((1 << level) + 1) * fewest >> level for level in range(deepest)]
    nodes = [ends << doublings for ends in halves]
    for level in range(doublings + 1):
        nodes.append(np.arange((fewest << level) + 1) << (doublings - level))
    first, rows = starts[:-1, None], np.diff(starts)[:, None]
    return [
        np.append((first + ends[:-1] * rows // many).ravel(), starts[-1]).astype(np.int64)
        for ends in nodes
    ]


def halving_order(features: _Array, depth: int) -> _Array:
    """Order in which columns of features [d, n] lie in nodes of `depth`, one behind the other."""
    return cut_order(features, [starts_of(features.shape[1], level) for level in range(depth)])


def cut_order(features: _Array, cuts: Sequence[_Array]) -> _Array:
    """Order in which columns of features [d, n] lie after each of the nodes of `cuts` is cut.

    Each of `cuts` says where nodes begin, and `n`; the next one where their parts do. Rows of a
    node are put in order along its longest axis, so that wherever it is cut what is before is
    below. The nodes of the first lie so already and stay where they are. For few rows: number, node
    and coordinate share 63 bits.
    """
    n = features.shape[1]
    order, tail = np.arange(n, dtype=np.int64), max(1, (n - 1).bit_length())
    nodes = max((len(starts) - 1 for starts in cuts), default=1)
    if tail + (nodes - 1).bit_length() > 31:
        raise ValueError(f"{n:,} rows in {nodes:,} nodes; expected fewer: cut them before")
    for starts in cuts:
        there = features[:, order]
        # Rows may be fewer than nodes, and an empty node would stand for its neighbour's rows.
        filled = np.flatnonzero(np.diff(starts))
        begins = starts[filled]
        extents = np.maximum.reduceat(there, begins, axis=1)
        extents -= np.minimum.reduceat(there, begins, axis=1)
        counts = np.diff(starts)[filled]
        node = np.repeat(np.arange(len(filled), dtype=np.int64), counts)
        axis = np.repeat(extents.argmax(0), counts)
        coordinate = _ordered(there[axis, np.arange(n)])
        keys = (node << 32 | coordinate) << tail | np.arange(n)
        keys.sort()
        order = order[keys & ((1 << tail) - 1)]
    return order


def _cut(along: _Array, rows: _Array) -> None:
    """Put the lower half of one node before its upper half, in place."""
    there = along[:, rows]
    axis = int((there.max(1) - there.min(1)).argmax())
    tail = max(1, (len(rows) - 1).bit_length())
    keys = _ordered(there[axis]) << tail | np.arange(len(rows))
    keys.partition(len(rows) // 2)
    rows[:] = rows[keys & ((1 << tail) - 1)]


def _ordered(values: _Array) -> _Array:
    """Numbers of 32 bits, 0 or more, in the order of finite floats: int64."""
    bits = values.astype(np.float32, copy=False).view(np.int32).astype(np.int64)
    return np.where(bits < 0, np.int64(0x7FFFFFFF) - (bits & 0x7FFFFFFF), bits + 0x80000000)
