"""What a forest costs in a file, as a term of the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.objective import Objective
from splat.core.step import Step
from splat.strategies.forest.fitted import EVERY
from splat.strategies.forest.model import Trees


@dataclass(frozen=True)
class Bits(Objective):
    """rate * bits per number of the forest, as its context expects them; places have no gradient.

    Of one step in `EVERY`, and so many times as much: the order in which a file tells a forest is
    found anew for it; and there of each `EVERY`th root, mid and leaf, others each time. 0 until
    numbers are rounded.
    """

    rate: float

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        trees = step.model.core
        assert isinstance(trees, Trees)
        if not trees.counts(step.number):
            return torch.zeros((), device=trees.cloud.device)
        with torch.no_grad():
            layout = trees.layout()
        values = trees.values(layout, trees.drawn(step.number))
        some = slice(step.number // EVERY % EVERY, None, EVERY)
        return self.rate * EVERY / values.count * trees.context.bits(layout, values, some)
