"""Crop: rows are added inside a box only; those outside explain the background of photos."""

from __future__ import annotations

from dataclasses import dataclass

from splat.core.edit import Edit
from splat.core.model import Model
from splat.core.region import EVERYWHERE, Box, Corner, Region, intersection
from splat.core.step import Step
from splat.core.strategy import Wrapper
from splat.rules.confine import confined


@dataclass(frozen=True)
class Crop(Wrapper):
    """Crop: densification inside a box only; what is outside still trains and is still pruned.

    A clone, split or relocation that would put a row outside does not happen, with all that belongs
    to it; so the rows that the method may have go where they are wanted. Files that are exported
    hold what is inside.
    """

    undivided = ""
    low: Corner = EVERYWHERE[0]
    """Lowest corner of the box, in the coordinates of the scene (those of `splat info FILE`)."""
    high: Corner = EVERYWHERE[1]
    """Highest corner of the box."""

    def __post_init__(self) -> None:
        super().__post_init__()
        Box(self.low, self.high)

    def region(self) -> Region:
        return intersection(self.base.region(), Box(self.low, self.high))

    def begin(self, model: Model) -> None:
        super().begin(model)
        place, region = model.cloud[model.place], self.region()
        if len(place) and not bool(region.holds(place, model.frame).any()):
            raise ValueError(
                f"the crop box from {region.text()} holds none of the {len(place):,}"
                f" {model.unit} that the run starts from; expected a box in the coordinates of the"
                " scene: `splat info` on a file of points or Gaussians says how far they reach"
            )

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        box, frame = Box(self.low, self.high), step.model.frame
        return confined(step, edit, lambda positions: box.holds(positions, frame), self.cap)
