"""In which order a file tells a forest: roots along a curve, under each mids, under each leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.core.frame import morton_order
from splat.strategies.forest.start import summed


@dataclass(frozen=True)
class Layout:
    """The order of roots, mids and leaves, all along a curve through space and under one another.

    `roots`, `mids` and `leaves` are the old number of each new one; the others are of new ones.
    """

    roots: Int[Tensor, "r"]
    mids: Int[Tensor, "m"]
    leaves: Int[Tensor, "n"]
    root_of: Int[Tensor, "m"]
    """New root of each new mid, ascending."""
    mid_of: Int[Tensor, "n"]
    """New mid of each new leaf, ascending."""
    centres: Float[Tensor, "r 3"]
    """Middles of the mids of each root, of which each is the middle of its leaves."""

    @cached_property
    def place(self) -> Int[Tensor, "m"]:
        """Which of its root's mids each mid is, from 0."""
        return within(self.root_of)

    @cached_property
    def first(self) -> Bool[Tensor, "n"]:
        """Whether a leaf is the first of its mid."""
        return within(self.mid_of) == 0

    @cached_property
    def leaf_counts(self) -> Int[Tensor, "m"]:
        """Leaves of each mid."""
        return torch.bincount(self.mid_of, minlength=len(self.mids))


def laid_out(
    mean: Float[Tensor, "n 3"], mid_of: Int[Tensor, "n"], root_of: Int[Tensor, "m"], roots: int
) -> Layout:
    """The layout of leaves at places, under mids, under roots, none of them childless."""
    m = len(root_of)
    middle = _middles(mean, mid_of, m)
    centre = _middles(middle, root_of, roots)
    root_order = morton_order(centre)
    root_rank = _ranks(root_order)
    mid_order = (root_rank[root_of] * m + _ranks(morton_order(middle))).argsort()
    mid_rank = _ranks(mid_order)
    leaf_order = (mid_rank[mid_of] * len(mean) + _ranks(morton_order(mean))).argsort()
    return Layout(
        root_order,
        mid_order,
        leaf_order,
        root_rank[root_of[mid_order]],
        mid_rank[mid_of[leaf_order]],
        centre[root_order],
    )


def within(group: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    """Which of its group each is, from 0, of groups that are in order."""
    place = torch.arange(len(group), device=group.device)
    starts = torch.zeros_like(group)
    new = torch.ones_like(group, dtype=torch.bool)
    new[1:] = group[1:] != group[:-1]
    starts[new] = place[new]
    return place - starts.cummax(0).values


def _middles(positions: Tensor, group: Tensor, groups: int) -> Tensor:
    count = torch.bincount(group, minlength=groups).clamp_min(1).to(positions.dtype)
    return summed(positions, group, groups) / count[:, None]


def _ranks(order: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    """The place of each in an order."""
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks
