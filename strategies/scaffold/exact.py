"""A context's word in numbers that are the same on every machine, to code and to decode by."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from splat.formats.range_coding import PARTS, power, scales_of
from splat.formats.weights import Doubles, doubles, network
from splat.strategies.scaffold.context import FINEST_STEP, KINDS, SPREAD, WIDEST, Context

BLOCK = 2048
"""Anchors that are asked for at a time."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Told:
    """What a context says of n anchors, rounded to what a coder goes by."""

    mean: Doubles
    """[n, d]."""
    step: Ints
    """[n, 3]: powers of two, by kind, in units of the base step; see `power`."""
    scale: Ints
    """[n, d]: powers of two, in units of the step."""


def filed(context: Context) -> Context:
    """The context as a file holds it: its network in half precision, of its table the signs."""
    found = copy.deepcopy(context).cpu().requires_grad_(False)
    found.table.copy_(torch.where(found.table >= 0, 1.0, -1.0))
    found.first.copy_(found.first.half().float())
    found.second.copy_(found.second.half().float())
    return found


@torch.no_grad()
def told(context: Context, positions: Float[Tensor, "n 3"]) -> Told:
    """The word of a context that is as a file holds it, of anchors at these positions.

    Sums and products of float64 one by one, in a fixed order: no library adds them up otherwise.
    """
    parts = list(_told(context, positions.cpu()))
    if not parts:
        d = sum(context.widths)
        return Told(np.zeros((0, d)), np.zeros((0, 3), np.int64), np.zeros((0, d), np.int64))
    mean, step, scale = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Told(mean, step, scale)


def _told(context: Context, positions: Tensor) -> Iterator[tuple[Doubles, Ints, Ints]]:
    first, second, table = (doubles(w) for w in (context.first, context.second, context.table))
    d = sum(context.widths)
    middle = np.repeat(context.middle.double().numpy(), context.widths)
    spread = np.repeat([SPREAD[kind] for kind in KINDS], context.widths)
    base = np.repeat(context.shape.steps, context.widths)
    for start in range(0, len(positions), BLOCK):
        read = _read(context, positions[start : start + BLOCK], table)
        said = network(read, first, second)
        step = np.maximum(1 + np.tanh(said[:, 2 * d :]), FINEST_STEP)
        octaves = np.rint(PARTS * np.log2(step)).astype(np.int64)
        wide = np.repeat(power(octaves), context.widths, axis=1) * base
        scale = spread * np.exp(np.clip(said[:, d : 2 * d], -WIDEST, WIDEST)) / wide
        yield middle + spread * said[:, :d], octaves, scales_of(np.log2(scale))


def _read(context: Context, positions: Tensor, table: Doubles) -> Doubles:
    found = []
    for index, weight in context.corners(positions):
        values, shares = table[index.numpy()], weight.numpy()
        total = values[:, :, 0] * shares[:, :, 0, None]
        for corner in range(1, shares.shape[2]):
            total += values[:, :, corner] * shares[:, :, corner, None]
        found.append(total.reshape(len(total), -1))
    return np.concatenate(found, 1)
