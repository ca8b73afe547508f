"""A set in leaves of a k-d tree, and coarser versions of every leaf.

Level 0 is the set itself. Each row of level 1 stands for four neighbours or so, found by place
and colour, and each row of a further level for four of the one before; every leaf has as
many rows of such a level as every other one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.kernels import threads_alone
from splat.lod.merge import merged
from splat.lod.tree import BLOCK, cut_order, depth_for, group_cuts, leaf_order, starts_of
from splat.math import SH_C0
from splat.types import Gaussians, joined

LEAF = 1 << 13
"""Rows of a leaf at most."""
RATIO = 4
"""Rows of a level that become one of the next."""
FEWEST = 16
"""Rows that a leaf has at its coarsest level, at least."""
_COLOUR = 1.0
"""How far apart rows count as whose colours are black and white, in steps between rows of level
1."""

Part = Callable[[int, int], Gaussians]
"""Gives the rows from one number to before another, in the order of the leaves."""
Refine = Callable[[Gaussians, Gaussians], Gaussians]
"""Gives a coarser level as it is to be, from the finest and what was merged: as many rows, in the
same order."""


@dataclass(frozen=True)
class Levels:
    """Levels of detail of m leaves; lengths in the units of the set."""

    starts: Int[Tensor, "m+1"]
    """Where the rows of each leaf begin at level 0, and how many there are."""
    coarser: tuple[Gaussians, ...]
    """Levels from 1 on, leaf by leaf. `source` is a row of level 0 that is among those it stands
    for."""
    low: Float[Tensor, "m 3"]
    """Low corner of a box around the centres of a leaf, at all levels."""
    high: Float[Tensor, "m 3"]
    """High corner of that box."""
    reach: Float[Tensor, "m"]
    """Longest standard deviation of a leaf, at any level."""
    errors: Float[Tensor, "l m"]
    """How far the rows of a level stand from those of level 0, about; rising from 0."""

    def __len__(self) -> int:
        """Number of leaves."""
        return len(self.starts) - 1

    @property
    def counts(self) -> Int[Tensor, "l m"]:
        """Rows of each leaf at each level."""
        coarser = [torch.full((len(self),), len(each) // len(self)) for each in self.coarser]
        return torch.stack([self.starts.diff(), *coarser])

    def refined(self, finest: Gaussians, refine: Refine) -> Levels:
        """These levels with every coarser one refined; boxes and reach grow where rows moved."""
        coarser = []
        low, high, reach = self.low, self.high, self.reach
        for merged_rows in self.coarser:
            rows = replace(refine(finest, merged_rows), source=merged_rows.source)
            if len(rows) != len(merged_rows):
                raise ValueError(
                    f"a level of {len(merged_rows):,} rows was refined to {len(rows):,}; expected"
                    " as many"
                )
            means = rows.means.view(len(self), -1, 3)
            low, high = low.minimum(means.amin(1)), high.maximum(means.amax(1))
            reach = reach.maximum(rows.scales.view(len(self), -1).amax(1))
            coarser.append(rows)
        return replace(self, coarser=tuple(coarser), low=low, high=high, reach=reach)

    def rows(self, level: int, leaf: int) -> slice:
        """The rows of a leaf at a level."""
        if level == 0:
            return slice(int(self.starts[leaf]), int(self.starts[leaf + 1]))
        count = len(self.coarser[level - 1]) // len(self)
        return slice(leaf * count, (leaf + 1) * count)


def rows_by_leaf(means: Float[Tensor, "n 3"], leaf: int = LEAF) -> Int[Tensor, "n"]:
    """Order of the rows in which those of each leaf are contiguous."""
    if not len(means):
        raise ValueError("there are no Gaussians to put into leaves; expected at least one")
    positions = means.detach().float().cpu().numpy()
    return torch.from_numpy(leaf_order(positions, depth_for(len(means), leaf)))


def coarser_counts(n: int, leaf: int = LEAF) -> tuple[int, ...]:
    """Rows that each leaf of `n` rows has at the levels from 1 on: a quarter, a quarter of that."""
    least = n >> depth_for(n, leaf)
    levels = 0
    while least // RATIO ** (levels + 1) >= FEWEST:
        levels += 1
    coarsest = least // RATIO**levels
    return tuple(coarsest * RATIO**level for level in reversed(range(levels)))


def levels_of_rows(n: int, part: Part, leaf: int = LEAF, threads: int = 1) -> Levels:
    """All levels of `n` rows, which `part` gives in the order of `rows_by_leaf`.

    It is asked for some ten thousand rows at a time, from several threads.
    """
    depth = depth_for(n, leaf)
    coarse = coarser_counts(n, leaf)
    top = min(depth, depth_for(n, BLOCK))
    blocks = starts_of(n, top)

    def one(low: int, high: int) -> _Block:
        return _block(part(low, high), low, depth - top, coarse)

    with threads_alone(threads) as pool:
        parts = list(pool.map(one, blocks[:-1].tolist(), blocks[1:].tolist()))
    return Levels(
        starts=torch.from_numpy(starts_of(n, depth)),
        coarser=tuple(joined([each.coarser[k] for each in parts]) for k in range(len(coarse))),
        low=torch.cat([each.low for each in parts]),
        high=torch.cat([each.high for each in parts]),
        reach=torch.cat([each.reach for each in parts]),
        errors=torch.cat([each.errors for each in parts], 1),
    )


@dataclass(frozen=True)
class _Block:
    """`Levels` of the leaves in one node."""

    coarser: list[Gaussians]
    low: Float[Tensor, "m 3"]
    high: Float[Tensor, "m 3"]
    reach: Float[Tensor, "m"]
    errors: Float[Tensor, "l m"]


@torch.no_grad()
def _block(gaussians: Gaussians, first: int, depth: int, counts: Sequence[int]) -> _Block:
    """Levels of the rows of a node whose leaves are `depth` halvings down, and have `counts` rows
    at levels from 1 on. `first` is the number of its first row."""
    n, leaves = len(gaussians), 1 << depth
    starts = torch.from_numpy(starts_of(n, depth))
    leaf = torch.repeat_interleave(torch.arange(leaves), starts.diff())
    low, high = (_of_leaves(gaussians.means, leaf, leaves, which) for which in ("amin", "amax"))
    reach = _of_leaves(gaussians.scales.amax(1), leaf, leaves, "amax")
    coarser, errors = [], [torch.zeros(leaves)]
    level = replace(gaussians, source=torch.arange(first, first + n), features=None)
    for k in range(len(counts)):
        if k == 0:
            members, there = _groups(gaussians, low, high, leaf, starts, counts)
        else:
            members, there = torch.arange(len(level)).view(-1, RATIO), None
        coarse = merged(level, members, there)
        apart = (level.means[members] - coarse.means[:, None]).square().sum(-1)
        apart = apart.amax(1).sqrt().view(leaves, -1).median(1).values
        errors.append(errors[-1] + apart)
        reach = torch.maximum(reach, coarse.scales.amax(1).view(leaves, -1).amax(1))
        coarser.append(coarse)
        level = coarse
    return _Block(coarser, low, high, reach, torch.stack(errors))


def _groups(
    gaussians: Gaussians,
    low: Tensor,
    high: Tensor,
    leaf: Tensor,
    starts: Int[Tensor, "m+1"],
    counts: Sequence[int],
) -> tuple[Int[Tensor, "g m"], Tensor]:
    """Rows that become one at level 1, in the order of the tree, and which of them count."""
    step = ((high - low).amax(1) / math.sqrt(counts[0])).clamp_min(1e-30)[leaf]
    constant = gaussians.colors if gaussians.colors.ndim == 2 else gaussians.colors[:, 0] * SH_C0
    # From the corner of the leaf: far from the origin steps would have no digits left.
    places = (gaussians.means - low[leaf]) / step[:, None]
    features = torch.cat([places, _COLOUR * constant.float()], 1).T.contiguous().numpy()
    doublings = (counts[0] // counts[-1]).bit_length() - 1
    *cuts, groups = group_cuts(starts.numpy(), counts[-1], doublings)
    order, begins = cut_order(features, cuts), torch.from_numpy(groups)
    slots = begins[:-1, None] + torch.arange(int(begins.diff().max()))
    there = slots < begins[1:, None]
    return torch.from_numpy(order)[slots.where(there, begins[:-1, None])], there


def _of_leaves(values: Tensor, leaf: Tensor, leaves: int, which: str) -> Tensor:
    out = values.new_zeros(leaves, *values.shape[1:])
    index = leaf.view(-1, *(1,) * (values.ndim - 1)).expand_as(values)
    return out.scatter_reduce(0, index, values, which, include_self=False)
