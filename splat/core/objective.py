"""`Objective`: one term of the loss, its weight included."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from splat import kernels
from splat.core.step import Step
from splat.types import Needs


class Objective(ABC):
    """One term of the loss, weight included; constant, like a strategy."""

    needs: Needs = Needs()
    """What it needs of the renderer at any step."""
    of_rows: bool = False
    """Whether it is a mean over the rows, not over a picture."""

    def needs_at(self, step: int) -> Needs:
        """What it needs of the renderer at the step of this number."""
        del step
        return self.needs

    @abstractmethod
    def __call__(self, step: Step) -> Float[Tensor, ""]:
        """The term for this step's picture."""


@dataclass(frozen=True)
class Photometric(Objective):
    """(1 - w) L1 + w (1 - SSIM) against the photograph (3DGS, Kerbl et al. 2023, eq. 7).

    Pixels whose mask is 0 take the photograph's own values first: they neither cost nor pull.
    """

    ssim_weight: float = 0.2

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        image, mask = step.rendered.image, step.batch.mask
        if mask is not None:
            image = image.where(mask[..., None] != 0, step.batch.image)
        return kernels.photometric(image, step.batch.pixels, self.ssim_weight)


@dataclass(frozen=True)
class OpacityL1(Objective):
    """Opacity regulariser, weight * mean: faint rows fade, to be relocated (3DGS-MCMC, eq. 9).

    Of what moves it is the opacity at its own time: that at the instant would shorten how long it
    is there.
    """

    of_rows = True
    weight: float = 0.01

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        gaussians = step.rendered.gaussians
        peaks = gaussians.opacities if gaussians.peaks is None else gaussians.peaks
        return kernels.mean_of(peaks, self.weight)


@dataclass(frozen=True)
class ScaleL1(Objective):
    """Scale regulariser, weight * mean over rows and axes (3DGS-MCMC), world units of training."""

    of_rows = True
    weight: float = 0.01

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        return kernels.mean_of(step.rendered.gaussians.scales, self.weight)
