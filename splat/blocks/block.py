"""The strategy of one block: births around its cell, files of its cell only."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from splat.blocks.cells import BEYOND, Cell, Ground
from splat.core.edit import Edit
from splat.core.region import Region, intersection
from splat.core.step import Step
from splat.core.strategy import Wrapper
from splat.rules.confine import confined

ALL = Cell(Ground((0, 0, 0), (1, 0, 0), (0, 1, 0), 1.0), (-BEYOND, -BEYOND), (BEYOND, BEYOND))
"""The only cell of a scene that is not divided."""


@dataclass(frozen=True)
class Block(Wrapper):
    """Confines births to a cell and a margin around it; rows outside are trained and pruned.

    Neighbours train the margin too, so that what ends at the border is as good as in the middle,
    and each keeps what lies in its own cell: files hold that only.
    """

    cell: Cell = ALL
    """The part of the scene that the block owns."""
    margin: float = 0.0
    """Width of the margin around the cell, in units of the contracted ground."""

    def region(self) -> Region:
        return intersection(self.base.region(), self.cell)

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        frame = step.model.frame

        def holds(positions: Float[Tensor, "n 3"]) -> Bool[Tensor, "n"]:
            return self.cell.around(self.cell.ground.flat(positions, frame), self.margin)

        return confined(step, edit, holds, self.cap)
