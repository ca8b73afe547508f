"""Small strategies that do one thing, to be composed in tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from splat.core.edit import Append, Drop, Edit
from splat.core.model import Model
from splat.core.objective import Objective, OpacityL1
from splat.core.step import Step
from splat.core.strategy import Start, Strategy
from splat.types import Needs


@dataclass(frozen=True)
class Cloner(Strategy):
    """Clones the first rows at every step, without a limit."""

    count: int = 1000
    start = Start(opacity=0.3)

    def refine(self, step: Step) -> Edit | None:
        cloud = step.model.cloud
        parents = torch.arange(min(self.count, len(cloud)))
        return Edit(append=(Append(cloud.rows(parents), parents, "clone"),))


@dataclass(frozen=True)
class Killer(Strategy):
    """Drops some rows at every step."""

    rows: tuple[int, ...] = ()
    reason: str = "kill"

    def refine(self, step: Step) -> Edit | None:
        rows = torch.tensor([row for row in self.rows if row < len(step.model.cloud)])
        return Edit(drop=(Drop(rows, self.reason),)) if len(rows) else None


@dataclass(frozen=True)
class Asking(Strategy):
    """Needs things, watches a statistic, has a term of the loss."""

    name: str = "asked"
    weight: float = 0.01
    cap: int = 0
    needs = Needs(absolute_gradient=True)

    def objectives(self) -> Mapping[str, Objective]:
        return {"opacity": OpacityL1(self.weight)}

    def begin(self, model: Model) -> None:
        model.cloud.track(self.name)

    def observe(self, step: Step) -> None:
        step.model.cloud.statistic(self.name).add_(1)

    def refine(self, step: Step) -> Edit | None:
        return None
