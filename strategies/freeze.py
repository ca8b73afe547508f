"""Frozen rows, which stay as they are to the bit, whatever trains around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.core.edit import Edit
from splat.core.families import limited_births
from splat.core.model import Model
from splat.core.step import Step
from splat.core.strategy import Wrapper

Corner = tuple[float, float, float]


@dataclass(frozen=True)
class Freeze(Wrapper):
    """Freeze some of the first rows: no step and no edit of any part moves or drops them.

    They are still drawn, and the others learn around them (ClotheDreamer's body). They are not
    cloned, split or copied: families of births that would change them do not happen. Rows
    that are born later are free.
    """

    rows: Literal["start", "inside", "outside"] = "start"
    """Which rows are frozen: all that the run starts with, or those inside or outside a box."""
    low: Corner = (0.0, 0.0, 0.0)
    """Lowest corner of the box, in the coordinates of the scene (those of `splat info FILE`)."""
    high: Corner = (0.0, 0.0, 0.0)
    """Highest corner of the box."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows == "start":
            if self.low != self.high:
                raise ValueError(
                    "a box is given, but all rows of the start are frozen; say whether those"
                    " inside or outside of it: --rows inside"
                )
        elif not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError(
                f"the box from {self.low} to {self.high} holds nothing; expected --low x y z and"
                " --high x y z, each of the first below its second"
            )

    def begin(self, model: Model) -> None:
        super().begin(model)
        model.cloud.hold(f"frozen_{self.rows}", self._chosen(model))

    def recycle(self, step: Step, rows: Bool[Tensor, "n"]) -> Edit | None:
        held = step.model.cloud.held
        assert held is not None
        return super().recycle(step, rows & ~held)

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        # The cloud itself leaves out what touches them; then there may be more rows than planned.
        return limited_births(edit, step.model.cloud, self.cap)

    def _chosen(self, model: Model) -> Bool[Tensor, "n"]:
        cloud = model.cloud
        if self.rows == "start":
            return torch.ones(len(cloud), dtype=torch.bool, device=cloud.device)
        means = cloud[model.place].detach().double()
        given = means / model.frame.scale + means.new_tensor(model.frame.centre)
        low, high = means.new_tensor(self.low), means.new_tensor(self.high)
        inside = ((given >= low) & (given <= high)).all(1)
        return inside if self.rows == "inside" else ~inside
