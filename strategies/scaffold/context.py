"""What an anchor's numbers are expected to be, by where it lies (HAC, Chen et al., ECCV 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from splat import kernels
from splat.core.column import EPSILON, Rate
from splat.core.model import TrainedModule
from splat.strategies.scaffold.signs import box_of, grids_of, signs_of, squeezed

KINDS = ("feature", "reach", "offset")
"""Of an anchor's numbers; each has a step of its own."""
SPREAD = {"feature": 0.5, "reach": 0.5, "offset": 0.5}
"""What means and scales are told in units of."""
FINEST_STEP = 1 / 16
"""Smallest step, in base steps; the largest is 2."""
WIDEST = 8.0
"""Largest size of the logarithm of a scale, in units of the spread."""
GRID_RATE, NETWORK_RATE = (3e-2, 1e-3), (1e-2, 5e-4)
"""Learning rates at the start and the end of a run."""


@dataclass(frozen=True)
class Shape:
    """How large a context is, and the steps that it starts from."""

    steps: tuple[float, float, float] = (0.4, 0.06, 0.1)
    """Base steps of features, of reach (log sizes) and of offsets (in units of the reach)."""
    levels: int = 6
    """Levels of the grid in space."""
    planes: int = 2
    """Levels of the grids on the three planes of two axes."""
    coarsest: int = 8
    """Cells of the first level along an axis."""
    finest: int = 256
    """Cells of the last level along an axis; on planes twice as many."""
    entries: int = 12
    """Binary logarithm of the most entries of a level."""
    channels: int = 2
    """Signs in an entry."""
    hidden: int = 32
    """Width of the network."""


@dataclass(frozen=True)
class Expected:
    """What a context says of n anchors."""

    mean: Float[Tensor, "n d"]
    """Of the numbers of each: feature, reach, offsets."""
    scale: Float[Tensor, "n d"]
    """Standard deviations."""
    step: Float[Tensor, "n 3"]
    """By kind."""


class Context(nn.Module):
    """A grid of signs at several resolutions, and a network of two layers that reads it.

    Anchors are looked up by where they lie in a box around most of the start; beyond it space is
    squeezed in, so that all of it has its place.
    """

    box: Tensor
    """[2, 3]: the middle and half the sides of the box, frame of training."""
    middle: Tensor
    """[3]: what means are told from, by kind."""
    kinds: Tensor
    """[d]: the kind of each number."""

    def __init__(
        self,
        features: int,
        slots: int,
        shape: Shape,
        start: tuple[Float[Tensor, "n 3"], Float[Tensor, "n 6"]],
        generator: torch.Generator,
    ) -> None:
        """`start` are the positions and log sizes of anchors to begin with."""
        super().__init__()
        self.shape, self.widths = shape, (features, 6, 3 * slots)
        self.register_buffer("box", box_of(start[0].detach().cpu()))
        middle = torch.tensor([0.0, float(start[1].detach().mean()), 0.0])
        self.register_buffer("middle", middle)
        self.grids = grids_of(
            (shape.coarsest, shape.finest, shape.levels), shape.planes, 1 << shape.entries
        )
        self.spans = torch.cat([grids.spans for grids in self.grids])
        kinds = torch.arange(len(KINDS)).repeat_interleave(torch.tensor(self.widths))
        self.register_buffer("kinds", kinds, persistent=False)
        entries = sum(sum(grids.sizes) for grids in self.grids)
        signs = torch.rand(entries, shape.channels, generator=generator)
        self.table = nn.Parameter((2 * signs - 1) * 1e-3)
        reads = sum(len(grids.sizes) for grids in self.grids) * shape.channels
        bound = 1 / math.sqrt(reads)
        first = torch.rand(reads + 1, shape.hidden, generator=generator)
        self.first = nn.Parameter((2 * first - 1) * bound)
        self.second = nn.Parameter(torch.zeros(shape.hidden + 1, 2 * sum(self.widths) + 3))

    def forward(self, positions: Float[Tensor, "n 3"]) -> Expected:
        """What is expected of anchors, differentiable in the weights."""
        return self.told(self.read(positions))

    def steps(self, positions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Only the steps."""
        return self._step(_layer(self._hidden(self.read(positions)), self.second[:, -3:]))

    def read(self, positions: Float[Tensor, "n 3"]) -> Float[Tensor, "n r"]:
        """The signs around each position, interpolated."""
        if positions.device.type == "cpu":
            places = positions.detach().to(self.table.dtype)
            return kernels.signs(self.table, places, self.box, self.spans).flatten(1)
        signs = signs_of(self.table)
        found = []
        for index, weight in self.corners(positions):
            values = signs.index_select(0, index.flatten()).view(*index.shape, -1)
            found.append((values * weight.to(values.dtype)[..., None]).sum(2).flatten(1))
        return torch.cat(found, 1)

    def told(self, read: Float[Tensor, "n r"]) -> Expected:
        """What the network makes of what was read."""
        said = _layer(self._hidden(read), self.second)
        mean, scale, step = said.split([sum(self.widths), sum(self.widths), 3], 1)
        spread = self.wide(said.new_tensor([SPREAD[kind] for kind in KINDS]))
        middle = self.wide(self.middle.to(said.dtype))
        return Expected(
            torch.addcmul(middle, spread, mean),
            spread * scale.clamp(-WIDEST, WIDEST).exp(),
            self._step(step),
        )

    def wide(self, values: Float[Tensor, "... 3"]) -> Float[Tensor, "... d"]:
        """What is so by kind, for each number."""
        return values.index_select(-1, self.kinds)

    def bits(self) -> Float[Tensor, ""]:
        """Entropy of the signs, taken as equal draws."""
        signs = signs_of(self.table)
        share = (signs.mean() / 2 + 0.5).clamp(1e-6, 1 - 1e-6)
        entropy = -(share * share.log2() + (1 - share) * (1 - share).log2())
        return entropy * signs.numel()

    def corners(
        self, positions: Float[Tensor, "n 3"]
    ) -> Iterator[tuple[Int[Tensor, "n g c"], Float[Tensor, "n g c"]]]:
        """Entries at the c corners around each position, of g grids of a kind at a time, and their
        weights in float64.

        Sums and products of float64 one by one: the same on every machine.
        """
        place = squeezed(positions.detach().double(), self.box.double())
        for grids in self.grids:
            yield grids.around(place)

    def trained(self, steps: int) -> TrainedModule:
        """With an optimizer for a run of so many steps."""
        rates = [Rate(*GRID_RATE, steps), Rate(*NETWORK_RATE, steps)]
        groups: list[dict[str, Any]] = [
            {"params": [self.table], "lr": rates[0].start},
            {"params": [self.first, self.second], "lr": rates[1].start},
        ]
        return TrainedModule(self, torch.optim.Adam(groups, eps=EPSILON, foreach=True), rates)

    def _hidden(self, read: Float[Tensor, "n r"]) -> Float[Tensor, "n h"]:
        return _layer(read, self.first).relu()

    def _step(self, said: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        base = said.new_tensor(self.shape.steps)
        return base * (1 + said.tanh()).clamp_min(FINEST_STEP)


def _layer(values: Float[Tensor, "n i"], weights: Float[Tensor, "i+1 o"]) -> Float[Tensor, "n o"]:
    return torch.addmm(weights[-1], values, weights[:-1])
