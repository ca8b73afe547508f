"""Cells of the ground: each place of the scene, however far, belongs to exactly one of them.

Places are looked at from above, and what is farther out than any camera is drawn in towards the
middle (the contraction of mip-NeRF 360, Barron et al. 2022), so that cells that end there reach to
infinity, and the overlap of cells grows with the distance as what cameras tell apart does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.region import Corner, Region
from splat.system.foreign import Record
from splat.types import Frame

Pair = tuple[float, float]

BEYOND = 4.0
"""A coordinate of the contracted ground that nothing reaches: all places lie within 2."""
AS_GIVEN = Frame((0.0, 0.0, 0.0), 1.0)


@dataclass(frozen=True)
class Ground:
    """The ground plane, contracted beyond the cameras."""

    centre: Corner
    """Centre of the cameras, units of the input."""
    along: Corner
    """Unit vector along the longer side of the rectangle in which cameras stand."""
    across: Corner
    """Unit vector along the shorter side of that rectangle."""
    reach: float
    """Distance on the ground, units of the input, that is 1 on the contracted ground: nearer places
    are not contracted."""

    def flat(self, positions: Float[Tensor, "n 3"], frame: Frame) -> Float[Tensor, "n 2"]:
        """Positions in the frame of training `frame` projected onto the contracted ground.

        In float64; at most 2 from the middle.
        """
        means = positions.detach().double()
        middle = means.new_tensor(frame.centre) - means.new_tensor(self.centre)
        in_input = means / frame.scale + middle
        axes = means.new_tensor([self.along, self.across])
        # Sums term by term: a matrix product may round otherwise with another number of rows.
        flat = (in_input[:, None, :] * axes).sum(2) / self.reach
        far = flat.norm(dim=1, keepdim=True).clamp_min(1.0)
        bent: Float[Tensor, "n 2"] = flat * ((2 - 1 / far) / far)
        return bent


@dataclass(frozen=True)
class Cell(Region):
    """A rectangle of the contracted ground with all that is above and below it."""

    ground: Ground
    low: Pair
    """The low corner, which belongs to the cell."""
    high: Pair
    """The high corner, which does not belong to the cell."""

    def holds(self, positions: Float[Tensor, "n 3"], frame: Frame) -> Bool[Tensor, "n"]:
        return self.around(self.ground.flat(positions, frame))

    def around(self, flat: Float[Tensor, "n 2"], margin: float = 0.0) -> Bool[Tensor, "n"]:
        """Which places of the contracted ground lie inside, or less than `margin` outside."""
        low, high = flat.new_tensor(self.low) - margin, flat.new_tensor(self.high) + margin
        result: Bool[Tensor, "n"] = ((flat >= low) & (flat < high)).all(1)
        return result

    def away(self, flat: Float[Tensor, "n 2"]) -> Float[Tensor, "n"]:
        """Distance of places of the contracted ground from the cell, 0 inside."""
        low, high = flat.new_tensor(self.low), flat.new_tensor(self.high)
        result: Float[Tensor, "n"] = torch.maximum(low - flat, flat - high).clamp_min(0).norm(dim=1)
        return result

    def text(self) -> str:
        along, across = map(_side, self.low, self.high)
        return f"the ground {along} along and {across} across"

    def bare(self, count: int) -> str:
        return (
            f"the block of {self.text()} holds none of the {count:,} Gaussians that were trained;"
            " expected some inside: train again with fewer --blocks"
        )


def _side(low: float, high: float) -> str:
    """An interval in words; ends that lie beyond everything are not named."""
    if high >= BEYOND:
        return f"from {low:.3g} on" if low > -BEYOND else "anywhere"
    return f"from {low:.3g} to {high:.3g}" if low > -BEYOND else f"below {high:.3g}"


def ground_of_json(fields: Mapping[str, Any]) -> Ground:
    """A ground from the record of its fields."""
    ground = Record(fields)
    centre, along, across = (ground.triple(key) for key in ("centre", "along", "across"))
    return Ground(centre, along, across, ground.number("reach", above=0))


def members(
    cells: Sequence[Cell], flat: Float[Tensor, "n 2"], margin: float = 0.0
) -> Bool[Tensor, "n b"]:
    """Whether places of the contracted ground lie in each cell, or less than `margin` outside."""
    return torch.stack([cell.around(flat, margin) for cell in cells], 1)


def _corners(fields: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    return fields["low"], fields["high"]


def _pair(values: Sequence[float]) -> Pair:
    first, second = values
    return first, second
