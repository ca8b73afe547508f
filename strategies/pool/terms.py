"""The term of the loss that keeps rows near their places."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from splat import kernels
from splat.core.objective import Objective
from splat.core.step import Step
from splat.strategies.pool.model import Gridded


@dataclass(frozen=True)
class Near(Objective):
    """weight * mean of relu(|offset| - reach), offsets and reach in edges of the grid: GVGEN's,
    whose grid has an edge of 1."""

    weight: float
    reach: float
    """In cells, along each axis."""

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        model = step.model.core
        assert isinstance(model, Gridded)
        lattice = model.lattice
        over = (model.offsets().abs() - self.reach * lattice.cell).clamp_min(0)
        return kernels.mean_of(over, self.weight / lattice.side)
