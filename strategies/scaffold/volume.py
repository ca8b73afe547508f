"""A term of the loss that keeps Gaussians small."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from splat.core.objective import Objective
from splat.core.step import Step


@dataclass(frozen=True)
class Volume(Objective):
    """weight * mean product of a Gaussian's three scales (Scaffold-GS, eq. 11), of those that the
    view has, frame of training."""

    weight: float = 0.01

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        x, y, z = step.rendered.gaussians.scales.unbind(1)
        return self.weight * (x * y * z).sum() / max(1, len(x))
