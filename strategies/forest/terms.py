"""What a forest costs in a file, as a term of the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.objective import Objective
from splat.core.step import Step
from splat.strategies.forest.model import Trees


@dataclass(frozen=True)
class Bits(Objective):
    """rate * bits per number of the forest, as its context expects them; places have no gradient.

    Of one step in `every`, and so many times as much: the order in which a file tells a forest is
    found anew for it. 0 until numbers are rounded.
    """

    rate: float
    every: int

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        trees = step.model.core
        assert isinstance(trees, Trees)
        if not trees.rounds(step.number) or step.number % self.every:
            return torch.zeros((), device=trees.cloud.device)
        with torch.no_grad():
            layout = trees.layout()
        values = trees.values(layout, trees.drawn(step.number))
        return self.rate * self.every / values.count * trees.context.bits(layout, values)
