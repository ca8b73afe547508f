"""Cells of a grid, as whole numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

BITS = 21
"""Of a cell's number along an axis: three of them make a key of 64 bits."""
FARTHEST = (1 << BITS - 1) - 1
"""Largest number of a cell along an axis."""


def cells(positions: Float[Tensor, "n 3"], side: float) -> Int[Tensor, "n 3"]:
    """The cell of each position; cells have their middles at whole multiples of `side`."""
    return (positions / side).round().clamp(-FARTHEST, FARTHEST).long()


def centres(numbers: Int[Tensor, "n 3"], side: float) -> Float[Tensor, "n 3"]:
    """The middles of cells."""
    return numbers.float() * side


def keys(numbers: Int[Tensor, "n 3"]) -> Int[Tensor, "n"]:
    """One number for each cell, in the order of x, then y, then z."""
    x, y, z = (numbers + FARTHEST).unbind(1)
    return (x << 2 * BITS) | (y << BITS) | z


def cells_of(found: Int[Tensor, "n"]) -> Int[Tensor, "n 3"]:
    """The cells of keys."""
    mask = (1 << BITS) - 1
    return torch.stack([found >> 2 * BITS, found >> BITS & mask, found & mask], 1) - FARTHEST


def unique(numbers: Int[Tensor, "n 3"]) -> Int[Tensor, "m 3"]:
    """Each cell once, by its key."""
    return cells_of(torch.unique(keys(numbers)))
