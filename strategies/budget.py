"""A budget of rows, and the curve by which it fills up."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from jaxtyping import Bool
from torch import Tensor

from splat.core.edit import Edit
from splat.core.families import limited_births
from splat.core.schedule import at
from splat.core.step import Step
from splat.core.strategy import Strategy, Wrapper, proposal
from splat.rules.curve import target
from splat.system.ranges import at_least, within

Course = Literal["constant", "linear", "parabola", "sqrt", "resolution"]


@dataclass(frozen=True)
class Budget(Wrapper):
    """Budget: never more rows than a curve allows, from those of the start up to a maximum.

    The curve's number is the cap of the strategy. Where that has no cap, or exceeds it, whole
    families of births are left out, those of the faintest parents first. Nothing is dropped:
    a run that starts with more rows keeps them.
    """

    rows: Annotated[int, at_least(1)] = 1_000_000
    """Most rows, the end of the curve."""
    curve: Course = "parabola"
    """How the number grows: constant (at once), linear, parabola (Taming 3DGS, 2024), sqrt
    (Improved-GS, 2025), or resolution: with the size of the pictures that train (DashGaussian,
    2025)."""
    grow_from: int = 500
    """Step at which the curve begins."""
    grow_until: int = 15_000
    """Step at which growth ends."""
    full: Annotated[float, within(0, 1, low_open=True)] = 0.6
    """Share of the way from start to end of growth after which the budget is reached."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grow_until < self.grow_from:
            raise ValueError(
                f"grow_until is {self.grow_until}, expected no less than grow_from,"
                f" {self.grow_from}"
            )

    @property
    def cap(self) -> int:  # type: ignore[override]
        return min(self.rows, self.base.cap or self.rows)

    def scheduled(self, steps: int) -> Strategy:
        return replace(
            self,
            base=self.base.limited(self.rows).scheduled(steps),
            grow_from=at(self.grow_from, steps),
            grow_until=at(self.grow_until, steps),
        )

    def limited(self, cap: int, by: int = 0) -> Strategy:
        return replace(self, rows=min(cap, self.rows), base=self.base.limited(cap, by))

    def target(self, step: Step) -> int:
        """Most rows after a step."""
        start, budget = step.model.cloud.began, self.cap
        whole = self.grow_until - self.grow_from
        if self.curve == "constant" or start >= budget:
            return budget
        done = step.number + 1 - self.grow_from
        if self.curve == "resolution":
            u = min(max(done / whole, 0.0), 1.0) if whole else 1.0
            return start + math.floor((budget - start) / math.pow(step.batch.shrink, 2 - u))
        u = done / (self.full * whole) if whole else 1.0
        return max(start, target(self.curve, start, budget, u))

    def proposal(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
        most = self.target(step)
        # So many rows are the base's cap, to be reached now where the curve sets the pace.
        base = self.base.limited(most, 0 if self.curve == "constant" else step.number + 1)
        return limited_births(proposal(base, step, rows), step.model.cloud, most)
