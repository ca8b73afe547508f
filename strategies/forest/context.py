"""What the numbers of a forest are expected to be, by what a file has told of it already."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from splat import kernels
from splat.strategies.forest.layout import Layout

HIDDEN = 16
"""Width of both networks."""
CHAIN = 64
"""Roots, and mids under one root, of which each expects something of the one before: the next is
as if it were the first, so that a file is told in as many turns at most."""
OWN = 3
"""Numbers of a leaf beside its place: opacity, size beyond its mid's, brightness."""
WIDE = 2.0
"""Binary logarithm of deviations at first, in steps."""
NARROWEST, WIDEST = -3, 12
"""The same of the least and the largest that are told apart."""
QUARTILE = 0.6745
"""Half of what is normally distributed lies nearer to the middle, in deviations."""
GAIN = 0.5
"""Share of what came before that is expected at first."""


@dataclass(frozen=True)
class Steps:
    """What numbers are rounded to multiples of. Sizes are whole eighths of an octave."""

    root: float = 0.2
    """Features of roots."""
    mid: float = 0.2
    """Features of mids."""
    rgb: float = 0.12
    """Colours of mids, logits."""
    light: float = 0.12
    """Brightness of leaves, logits."""
    opacity: float = 0.25
    """Logits of opacity."""
    place: float = 0.125
    """Places of leaves, in sizes of their mid."""


SIZE = math.log(2) / 8
"""Step of log sizes."""


class Context(nn.Module):
    """Two small networks, and how much of what came before to expect again.

    Of a root's feature a share of the one before it is expected. A mid's numbers (feature, colour,
    mean size of its leaves) are expected by its root's feature and a share of the mid before it
    under the same root; a leaf's by all that is known of its mid.
    """

    def __init__(self, mid: int, root: int, generator: torch.Generator) -> None:
        """Widths of the features of mids and of roots."""
        super().__init__()
        self.mid, self.root = mid, root
        told = mid + 4
        self.root_said = nn.Parameter(torch.zeros(3, root))
        """Share, mean in steps, log2 of deviation in steps."""
        self.mid_share = nn.Parameter(torch.full((told,), GAIN))
        self.mid_in = _drawn(root + told + 1, HIDDEN, generator)
        self.mid_out = nn.Parameter(torch.zeros(HIDDEN + 1, 2 * told + 1))
        self.leaf_in = _drawn(root + told + 1, HIDDEN, generator)
        self.leaf_out = nn.Parameter(torch.zeros(HIDDEN + 1, 2 * OWN + 1))
        with torch.no_grad():
            self.root_said[0], self.root_said[2] = GAIN, WIDE
            self.mid_out[-1, told:] = WIDE
            self.leaf_out[-1, OWN:] = WIDE

    @torch.no_grad()
    def begin(self, layout: Layout, values: Values) -> None:
        """Expect what there is of each number in the mean, and as surely as it varies: networks
        learn what is beyond that, and would take long to come there."""
        device = values.roots.device
        roots = torch.arange(len(values.roots), device=device)
        mids = torch.arange(len(values.mids), device=device)
        apart = values.roots - GAIN * _before(values.roots, roots, roots % CHAIN == 0)
        self.root_said[1], self.root_said[2] = apart.mean(0), _spread(apart)
        apart = values.mids - GAIN * _before(values.mids, mids, layout.place % CHAIN == 0)
        first, told = layout.first, self.mid + 4
        self.mid_out[-1, :told], self.mid_out[-1, told:-1] = apart.mean(0), _spread(apart)
        # As many first leaves as mids, in the same order.
        self.mid_out[-1, -1] = _spread(values.places[first]).mean() + values.mids[:, -1].mean() / 8
        self.leaf_out[-1, :OWN] = values.leaves.mean(0)
        self.leaf_out[-1, OWN:-1] = _spread(values.leaves)
        self.leaf_out[-1, -1] = _spread(values.places[~first]).mean()

    def bits(self, layout: Layout, values: Values, some: slice = slice(None)) -> Float[Tensor, ""]:
        """Bits of all numbers but for links, differentiable in the values and in what this is.

        Only of `some` roots, mids and leaves, which then stand for all.
        """
        return sum(
            (
                self._roots(values, some),
                self._mids(layout, values, some),
                self._leaves(layout, values, some),
            ),
            start=values.roots.new_zeros(()),
        )

    def _roots(self, values: Values, some: slice) -> Float[Tensor, ""]:
        rows = torch.arange(len(values.roots), device=values.roots.device)[some]
        past = _before(values.roots, rows, rows % CHAIN == 0)
        share, mean, wide = self.root_said
        apart = values.roots.index_select(0, rows) - share * past - mean
        return gaussian_bits(apart, wide).sum() * (len(values.roots) / max(len(rows), 1))

    def _mids(self, layout: Layout, values: Values, some: slice) -> Float[Tensor, ""]:
        rows = torch.arange(len(values.mids), device=values.mids.device)[some]
        first = (layout.place % CHAIN == 0).index_select(0, rows)
        past, own = _before(values.mids, rows, first), values.mids.index_select(0, rows)
        roots = values.roots.index_select(0, layout.root_of.index_select(0, rows))
        reads = torch.cat([roots, past, first[:, None].to(roots.dtype)], 1)
        said = _told(reads, self.mid_in, self.mid_out)
        mean, wide = said[:, :-1].chunk(2, 1)
        total = gaussian_bits(own - self.mid_share * past - mean, wide).sum()
        # The spread of first leaves is told in units of space, those of mids in eighths of octaves.
        far = said[:, -1:] - own[:, -1:].detach() / 8
        counts = layout.leaf_counts
        places = values.places.index_select(0, (counts.cumsum(0) - counts).index_select(0, rows))
        total = total + gaussian_bits(places, far).sum()
        return total * (len(values.mids) / max(len(rows), 1))

    def _leaves(self, layout: Layout, values: Values, some: slice) -> Float[Tensor, ""]:
        rows = torch.arange(len(values.leaves), device=values.leaves.device)[some]
        mid = layout.mid_of.index_select(0, rows)
        counts = layout.leaf_counts.to(values.mids.dtype).log2()[:, None].index_select(0, mid)
        roots = values.roots.index_select(0, layout.root_of.index_select(0, mid))
        reads = torch.cat([roots, values.mids.index_select(0, mid), counts], 1)
        said = _told(reads, self.leaf_in, self.leaf_out)
        mean, wide = said[:, :-1].chunk(2, 1)
        total = gaussian_bits(values.leaves.index_select(0, rows) - mean, wide).sum()
        later = (~layout.first).index_select(0, rows)
        places = values.places.index_select(0, rows[later])
        total = total + gaussian_bits(places, said[later, -1:]).sum()
        return total * (len(values.leaves) / max(len(rows), 1))


@dataclass(frozen=True)
class Values:
    """Numbers of a forest in steps, in the order of a layout."""

    roots: Float[Tensor, "r g"]
    mids: Float[Tensor, "m d"]
    """Feature, colour, size."""
    leaves: Float[Tensor, "n 3"]
    """Opacity, size beyond its mid's, brightness."""
    places: Float[Tensor, "n 3"]
    """From the middle of the root, of leaves that are not the first of their mid from that one;
    without gradients."""

    @property
    def count(self) -> int:
        """How many there are."""
        parts = (self.roots, self.mids, self.leaves, self.places)
        return sum(part.numel() for part in parts)


def _before(
    values: Float[Tensor, "n d"], rows: Int[Tensor, "k"], first: Bool[Tensor, "k"]
) -> Float[Tensor, "k d"]:
    """The rows before some; 0 of those that are the first of a chain."""
    return values.index_select(0, (rows - 1).clamp_min(0)).masked_fill(first[:, None], 0)


def gaussian_bits(apart: Float[Tensor, "n d"], wide: Tensor) -> Float[Tensor, "n d"]:
    """Bits of numbers so far from their means, in steps; `wide` is log2 of their deviations."""
    deviation = wide.clamp(NARROWEST, WIDEST).exp2()
    return kernels.surprise(apart, deviation.expand_as(apart))


def _spread(values: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """log2 of deviations, in steps, by how far half of the numbers lie from their median: a few
    that are far off say nothing of the others."""
    if not len(values):
        return values.new_full(values.shape[1:], WIDE)
    half = (values - values.median(0).values).abs().median(0).values
    return (half / QUARTILE).clamp_min(2**NARROWEST).log2()


def _drawn(reads: int, gives: int, generator: torch.Generator) -> nn.Parameter:
    weights = (2 * torch.rand(reads + 1, gives, generator=generator) - 1) / math.sqrt(reads)
    weights[-1] = 0
    return nn.Parameter(weights / 4)  # what is read is in steps


def _told(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    hidden = torch.addmm(first[-1], values, first[:-1]).relu()
    return torch.addmm(second[-1], hidden, second[:-1])
