"""Settled anchors as sections of a file, in few bits, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splat.formats.range_coding import (
    MOST,
    BitsIn,
    BitsOut,
    chance,
    check_decoded,
    checksum,
    numbers_packed,
    numbers_unpacked,
)
from splat.formats.weights import fill, floats
from splat.strategies.scaffold import cellcode
from splat.strategies.scaffold.context import KINDS, Context
from splat.strategies.scaffold.exact import told
from splat.strategies.scaffold.networks import Networks
from splat.strategies.scaffold.settled import Settled, kept_of, placed
from splat.system.foreign import fits

Said = dict[str, Any]
Sections = Mapping[str, bytes]


def packed(found: Settled) -> tuple[Said, dict[str, bytes]]:
    """What a header is to say of settled anchors, and the sections that hold them."""
    if not len(found.rows):
        raise ValueError("no anchor draws anything, and a file of none shows nothing; train longer")
    cells = cellcode.packed(found.cells) if len(found.cells) else None
    odd = found.anchor[len(found.cells) :].cpu().numpy()
    mask_chances, masks = _masks_packed(found.masks.cpu().numpy())
    sign_chances, signs = _signs_packed(found.context, found.anchor)
    sections = {
        "cells": cells.bits if cells else b"",
        "cell chances": cells.chances if cells else b"",
        "odd places": odd.astype("<f4").tobytes(),
        "mask chances": mask_chances,
        "masks": masks,
        "box": floats(_buffers(found.context), "<f4"),
        "context": floats(_weights(found.context), "<f2"),
        "sign chances": sign_chances,
        "signs": signs,
        "networks": floats(found.networks.parameters(), "<f2"),
    }
    ranges = []
    for kind, values, scales in _by_kind(found.context, found.kept, found.values, found.told.scale):
        low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
        sections[kind] = numbers_packed(values, scales, low, high)
        ranges.append([low, high])
    said: Said = {
        "side": found.side,
        "cells": len(found.cells),
        "octree": [list(cells.origin), cells.depth] if cells else None,
        "ranges": ranges,
        "numbers": checksum(found.values),
    }
    return said, sections


def unpacked(
    said: Said, sections: Sections, context: Context, networks: Networks, distance: bool
) -> Settled:
    """Settled anchors of a header and its sections; `context` and `networks` take their weights.

    ValueError where they do not fit together.
    """
    cells = np.zeros((0, 3), np.int64)
    if said["octree"] is not None:
        if not fits(said["octree"], tuple[tuple[int, int, int], int]):
            raise ValueError("an octree that is none")
        if not 0 <= said["cells"] <= said["anchors"]:
            raise ValueError("more cells than anchors")
        (x, y, z), depth = said["octree"]
        parts = sections["cell chances"], sections["cells"]
        cells = cellcode.unpacked(cellcode.Cells((x, y, z), depth, said["cells"], *parts))
    odd = np.frombuffer(sections["odd places"], "<f4").reshape(-1, 3).copy()
    anchor = torch.cat([placed(cells, said["side"]), torch.from_numpy(odd).float()])
    if len(anchor) != said["anchors"]:
        raise ValueError(f"{len(anchor):,} anchors in place of {said['anchors']:,}")
    slots = context.widths[2] // 3
    bits = _masks_unpacked(sections["mask chances"], sections["masks"], len(anchor), slots)
    masks = torch.from_numpy(bits)
    fill(_buffers(context), sections["box"], "<f4")
    fill(_weights(context), sections["context"], "<f2")
    _signs_unpacked(context, anchor, sections["sign chances"], sections["signs"])
    fill(networks.parameters(), sections["networks"], "<f2")
    expected = told(context, anchor)
    kept = kept_of(context, masks)
    values = np.zeros(kept.shape, np.int64)
    if not fits(said["ranges"], list[tuple[int, int]]) or any(
        not -MOST <= low <= high <= MOST for low, high in said["ranges"]
    ):
        raise ValueError("ranges of numbers that are none")
    ranges = iter(said["ranges"])
    for kind, _, scales in _by_kind(context, kept, values, expected.scale):
        columns = _columns(context)[kind]
        found = numbers_unpacked(sections[kind], scales, *next(ranges))
        values[:, columns][kept[:, columns]] = found
    check_decoded(checksum(values), said["numbers"])
    rows = torch.arange(len(anchor))
    return Settled(
        rows, said["side"], cells, anchor, masks, context, networks, expected, values, distance
    )


def _buffers(context: Context) -> list[Tensor]:
    return [context.box, context.middle]


def _weights(context: Context) -> list[nn.Parameter]:
    return [context.first, context.second]


def _columns(context: Context) -> dict[str, slice]:
    """Where each kind of number is."""
    ends = np.cumsum(context.widths).tolist()
    return {kind: slice(e - w, e) for kind, e, w in zip(KINDS, ends, context.widths, strict=True)}


def _by_kind(
    context: Context, kept: NDArray[np.bool_], values: NDArray[Any], scales: NDArray[Any]
) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Those numbers of each kind that count, and their scales."""
    for kind, columns in _columns(context).items():
        which = kept[:, columns]
        yield kind, values[:, columns][which], scales[:, columns][which]


def _masks_packed(masks: NDArray[np.bool_]) -> tuple[bytes, bytes]:
    """Bits by their slot and by how many of the anchor's are on before it."""
    k = masks.shape[1]
    before: NDArray[np.int64] = np.cumsum(masks, 1) - masks
    ones, of = np.zeros((2, k, k))
    for slot in range(k):
        ones[slot] = np.bincount(before[:, slot], masks[:, slot], k)
        of[slot] = np.bincount(before[:, slot], minlength=k)
    chances, out = chance(ones, of), BitsOut()
    for slot in range(k):
        out.add(masks[:, slot], chances[slot][before[:, slot]])
    return chances.tobytes(), out.bytes()


def _masks_unpacked(chances: bytes, data: bytes, n: int, k: int) -> NDArray[np.bool_]:
    table = np.frombuffer(chances, np.uint8).reshape(k, k)
    masks = np.zeros((n, k), bool)
    before: NDArray[np.int64] = np.zeros(n, np.int64)
    source = BitsIn(data)
    for slot in range(k):
        masks[:, slot] = source.take(table[slot][before])
        before += masks[:, slot]
    return masks


def _used(context: Context, anchor: Tensor) -> Iterator[NDArray[np.int64]]:
    """Entries of the table that anchors read, a grid after the other."""
    for index, _ in context.corners(anchor.cpu()):
        for grid in index.unbind(1):
            yield np.unique(grid.numpy())


def _signs_packed(context: Context, anchor: Tensor) -> tuple[bytes, bytes]:
    """The signs that anchors read; all others are left out."""
    signs, out, chances = context.table.detach().numpy() > 0, BitsOut(), []
    for used in _used(context, anchor):
        bits = signs[used].flatten()
        chances.append(chance(np.array(bits.sum()), np.array(len(bits))).reshape(1))
        out.add(bits, np.repeat(chances[-1], len(bits)))
    return np.concatenate(chances).tobytes(), out.bytes()


def _signs_unpacked(context: Context, anchor: Tensor, chances: bytes, data: bytes) -> None:
    source = BitsIn(data)
    table = np.full(tuple(context.table.shape), -1.0, np.float32)
    each = np.frombuffer(chances, np.uint8)
    for used, own in zip(_used(context, anchor), each, strict=True):
        bits = source.take(np.full(len(used) * table.shape[1], own, np.uint8))
        table[used] = np.where(bits, 1.0, -1.0).reshape(len(used), -1)
    with torch.no_grad():
        context.table.copy_(torch.from_numpy(table))
