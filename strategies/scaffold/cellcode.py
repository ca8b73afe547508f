"""Cells of a grid as an octree, coded by what is known of the neighbours."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splat.formats.range_coding import BitsIn, BitsOut, chance, inflated

Ints = NDArray[np.int64]
LEVELS = 6
"""Levels, from the finest on, whose chances are kept apart; all coarser ones share."""
DEEPEST = 21
"""Most levels: a cell's number has 63 bits."""
_STATES = 4 * 8 * 8
"""What a bit's chance depends on: cells beside the child, children before it, and which it is."""
_AXES = np.eye(3, dtype=np.int64)
_ALIGNED = 64
"""Cells that the octree's origin is a multiple of."""


@dataclass(frozen=True)
class Cells:
    """Cells without repetition, as bytes."""

    origin: tuple[int, int, int]
    """The lowest corner of the octree."""
    depth: int
    """Its levels: 2^depth cells along an axis."""
    count: int
    chances: bytes
    bits: bytes


def order(cells: Ints) -> Ints:
    """Where to find each cell [n, 3] in the order in which `unpacked` gives them."""
    origin, depth = _around(cells)
    return np.argsort(_interleaved(cells - np.array(origin), depth), kind="stable")


def packed(cells: Ints) -> Cells:
    """Cells [n, 3] without repetition, in any order."""
    origin, depth = _around(cells)
    keys = np.sort(_interleaved(cells - np.array(origin), depth))
    counts = np.zeros((2, LEVELS * _STATES), np.int64)
    for level in range(depth):
        nodes, children = _nodes(keys, depth, level), _nodes(keys, depth, level + 1)
        found = _occupied(nodes, children)
        for states, bits, sure in _walk(nodes, depth, level, found):
            counts[0] += np.bincount(states[~sure], bits[~sure], len(counts[0])).astype(np.int64)
            counts[1] += np.bincount(states[~sure], minlength=len(counts[1]))
    table = chance(*counts)
    out = BitsOut()
    for level in range(depth):
        nodes, children = _nodes(keys, depth, level), _nodes(keys, depth, level + 1)
        for states, bits, sure in _walk(nodes, depth, level, _occupied(nodes, children)):
            out.add(bits[~sure], table[states[~sure]])
    seen = np.where(counts[1] > 0, table, 0).astype(np.uint8)
    return Cells(origin, depth, len(cells), zlib.compress(seen.tobytes(), 9), out.bytes())


def unpacked(cells: Cells) -> Ints:
    """The cells [n, 3]; ValueError where their chances are broken."""
    table = np.frombuffer(inflated(cells.chances, LEVELS * _STATES), np.uint8)
    if not 0 <= cells.depth <= DEEPEST:
        raise ValueError(f"{cells.depth} levels of cells in place of 0 to {DEEPEST}")
    source = BitsIn(cells.bits)
    keys = np.zeros(1, np.int64)
    for level in range(cells.depth):
        found = np.zeros((len(keys), 8), bool)
        for child, (states, _, sure) in enumerate(_walk(keys, cells.depth, level, found)):
            found[sure, child] = True
            found[~sure, child] = source.take(table[states[~sure]])
        parent, part = found.nonzero()
        keys = keys[parent] * 8 + part
        if len(keys) > cells.count:
            raise ValueError(f"more than {cells.count} cells")
    places: Ints = _apart(keys, cells.depth) + np.array(cells.origin)
    return places


def _walk(
    nodes: Ints, depth: int, level: int, found: NDArray[np.bool_]
) -> Iterator[tuple[Ints, NDArray[np.bool_], NDArray[np.bool_]]]:
    """For each of eight children: what its chance depends on, whether it is there, and whether
    that goes without saying. `found` [n, 8] is read up to the child that it is about."""
    beside = _beside(nodes, level)
    kept = min(depth - 1 - level, LEVELS - 1)
    before: Ints = np.zeros(len(nodes), np.int64)
    for child in range(8):
        x, y, z = (beside[axis][child >> (2 - axis) & 1] for axis in range(3))
        states = ((kept * 4 + x + y + z) * 8 + before) * 8 + child
        yield states, found[:, child].copy(), (before == 0) & (child == 7)
        before = before + found[:, child]


def _beside(nodes: Ints, level: int) -> list[tuple[Ints, Ints]]:
    """Along each axis whether there is a node below each, and one above."""
    places, side = _apart(nodes, level), 1 << level
    found = []
    for step in _AXES:
        both = []
        for sign in (-1, 1):
            there = places + sign * step
            inside = ((there >= 0) & (there < side)).all(1)
            keys = _interleaved(there.clip(0, side - 1), level)
            at = np.searchsorted(nodes, keys).clip(0, len(nodes) - 1)
            both.append((inside & (nodes[at] == keys)).astype(np.int64))
        found.append((both[0], both[1]))
    return found


def _around(cells: Ints) -> tuple[tuple[int, int, int], int]:
    """Lowest corner and depth of the octree; cells of coarse grids stay in corners of its nodes."""
    low = cells.min(0) // _ALIGNED * _ALIGNED
    x, y, z = low.tolist()
    return (x, y, z), int((cells.max(0) - low).max()).bit_length()


def _nodes(keys: Ints, depth: int, level: int) -> Ints:
    shifted = keys >> 3 * (depth - level)
    return shifted[np.r_[True, shifted[1:] != shifted[:-1]]]


def _occupied(nodes: Ints, children: Ints) -> NDArray[np.bool_]:
    found = np.zeros((len(nodes), 8), bool)
    found[np.searchsorted(nodes, children >> 3), children & 7] = True
    return found


def _interleaved(places: Ints, depth: int) -> Ints:
    """Bits of x, y and z in turn, those of x highest."""
    key = np.zeros(len(places), np.int64)
    for bit in range(depth):
        for axis in range(3):
            key |= (places[:, axis] >> bit & 1) << (3 * bit + 2 - axis)
    return key


def _apart(keys: Ints, depth: int) -> Ints:
    """The places of interleaved keys."""
    places = np.zeros((len(keys), 3), np.int64)
    for bit in range(depth):
        for axis in range(3):
            places[:, axis] |= (keys >> (3 * bit + 2 - axis) & 1) << bit
    return places
