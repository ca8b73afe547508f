"""Grids of signs at several resolutions, hashed where they are large (Instant NGP; HAC)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

_PRIMES = (1, 2_654_435_761, 805_459_861)
"""By which cells are hashed (Müller et al. 2022)."""


def signs_of(values: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Signs of numbers; the gradient goes straight through where they are within -1 and 1."""
    found: Tensor = _Signs.apply(values)  # type: ignore[no-untyped-call]
    return found


class _Signs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return torch.where(values >= 0, 1.0, -1.0).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        found: Tensor = gradients[0] * (values.abs() <= 1)
        return found


@dataclass(frozen=True)
class Grids:
    """Levels over as many axes each."""

    axes: tuple[tuple[int, ...], ...]
    """Of each level."""
    sides: tuple[int, ...]
    """Cells along an axis."""
    first: int
    """Where their entries begin in the table."""
    most: int
    """Entries of one at most; where corners are more, they are hashed."""

    @property
    def corners(self) -> list[int]:
        """Of all cells."""
        return [(s + 1) ** len(a) for s, a in zip(self.sides, self.axes, strict=True)]

    @property
    def sizes(self) -> list[int]:
        """Entries of each."""
        return [min(count, self.most) for count in self.corners]

    @property
    def _starts(self) -> list[int]:
        return [self.first + sum(self.sizes[:i]) for i in range(len(self.sizes))]

    @property
    def _dense(self) -> list[int]:
        return [int(c == size) for c, size in zip(self.corners, self.sizes, strict=True)]

    @property
    def spans(self) -> Int[Tensor, "g 8"]:
        """What `splat.kernels.signs` is told of each."""
        return torch.tensor(
            [
                [len(axes), *axes, *[0] * (3 - len(axes)), *rest]
                for axes, *rest in zip(
                    self.axes, self.sides, self.sizes, self._starts, self._dense, strict=True
                )
            ]
        )

    def around(
        self, place: Float[Tensor, "n 3"]
    ) -> tuple[Int[Tensor, "n g c"], Float[Tensor, "n g c"]]:
        """Entries at the corners of each place's cells, places from 0 to 1, and their weights."""
        sides, sizes, starts, dense = (
            torch.tensor(numbers, device=place.device)
            for numbers in (self.sides, self.sizes, self._starts, self._dense)
        )
        axes = torch.tensor(self.axes, device=place.device)
        corners = torch.arange(1 << axes.shape[1], device=place.device)
        index = hashed = share = torch.zeros((), device=place.device)
        for axis in range(axes.shape[1]):
            scaled = place.index_select(1, axes[:, axis]) * sides
            low = scaled.floor().minimum(sides - 1.0).clamp_min(0)
            rest = scaled - low
            # Corners count in binary, this axis' digit the one of 2^axis.
            digits = corners >> axis & 1
            at = low.long()[..., None] + digits
            own = torch.where(digits == 1, rest[..., None], 1 - rest[..., None])
            share = own if axis == 0 else share * own
            index = at if axis == 0 else index * (sides + 1)[:, None] + at
            hashed = at if axis == 0 else hashed ^ at * _PRIMES[axis]
        found = torch.where(dense[:, None] == 1, index, hashed % sizes[:, None])
        return found + starts[:, None], share


def grids_of(space: tuple[int, int, int], planes: int, most: int) -> tuple[Grids, ...]:
    """Grids in space, whose cells along an axis go from the first number to the second in so many
    levels; and, with `planes` levels, grids twice as fine on each plane of two axes."""
    coarsest, finest, levels = space
    found = [Grids(((0, 1, 2),) * levels, _sides(coarsest, finest, levels), 0, most)]
    if planes:
        sides = _sides(2 * coarsest, 2 * finest, planes)
        each = tuple(side for side in sides for _ in range(3))
        axes = ((0, 1), (0, 2), (1, 2)) * planes
        found.append(Grids(axes, each, sum(found[0].sizes), most))
    return tuple(found)


def _sides(first: int, last: int, count: int) -> tuple[int, ...]:
    """Numbers of cells in equal ratios."""
    if count == 1:
        return (last,)
    return tuple(round(first * (last / first) ** (i / (count - 1))) for i in range(count))


def box_of(positions: Float[Tensor, "n 3"]) -> Float[Tensor, "2 3"]:
    """The middle and half the sides of a box around nine tenths of the points along each axis."""
    n = len(positions)
    order = positions.sort(0).values
    low, high = order[n // 20], order[n - 1 - n // 20]
    half = (high - low) / 2
    return torch.stack([(low + high) / 2, half.clamp_min(max(1e-6, 0.01 * float(half.max())))])


def squeezed(positions: Float[Tensor, "n 3"], box: Float[Tensor, "2 3"]) -> Float[Tensor, "n 3"]:
    """Positions as numbers from 0 to 1; the box is the middle half along each axis."""
    inside = (positions - box[0]) / box[1]
    far = inside.abs()
    outside = inside.sign() * (2 - 1 / far.clamp_min(1))
    return torch.where(far <= 1, inside, outside) / 4 + 0.5
