"""The term of the loss that keeps a deformation even."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.objective import Objective
from splat.core.step import Step
from splat.strategies.deform.model import Deformed


@dataclass(frozen=True)
class EvenPlanes(Objective):
    """`DeformationField.roughness`, from the step `begin` on at every `every`-th step, as many
    times over: it is of all values of the planes, of which a step touches some."""

    begin: int
    every: int
    space: float
    times: float
    ones: float

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        model = step.model
        assert isinstance(model, Deformed)
        if step.number < self.begin or step.number % self.every:
            return torch.zeros((), device=model.cloud.device)
        return self.every * model.field.roughness(self.space, self.times, self.ones)
