"""What may steer the growth and the pruning of anchors beside pictures."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.edit import Edit
from splat.core.step import Step


class Guide(Protocol):
    """Says where anchors are wanted, and where they are not."""

    def wanted(self, step: Step, points: Float[Tensor, "m 3"]) -> Float[Tensor, "m"]:
        """What is added to the mean screen gradient of offsets at points of the frame of
        training; of those only that may grow."""
        ...

    def unwanted(
        self,
        step: Step,
        opacity: Float[Tensor, "n"],
        visits: Float[Tensor, "n"],
        least: float,
    ) -> Bool[Tensor, "n"]:
        """Anchors to drop, besides those whose `opacity`, summed over their visits, is below
        `least` times `visits`."""
        ...


@runtime_checkable
class Guided(Protocol):
    """A strategy that takes a guide's word."""

    def guided(self, step: Step, guide: Guide | None) -> Edit | None:
        """What `refine` proposes, with the guide's say in it."""
        ...
