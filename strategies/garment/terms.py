"""The term of the loss that tells a garment from the body: which share of each pixel it covers."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from splat.core.objective import Objective
from splat.core.step import Step
from splat.types import Needs

_MOSTLY = 128
"""Value of an outline from which a pixel is garment."""


@dataclass(frozen=True)
class Layers(Objective):
    """weight * mean |share of a pixel that is garment - mask|, the body being drawn before and
    behind it.

    So a garment is whole where its mask is, is not where the body is seen, and may be anything
    where the body hides it.
    """

    weight: float
    needs = Needs(outline=True)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        batch, share = step.batch, step.rendered.features
        assert share is not None
        if batch.outline is None:
            raise ValueError(
                f"photo {batch.name} has no mask of the garment, by which it is told from the body;"
                " expected one for each photo: give them with --masks FOLDER"
            )
        if batch.mask is None and bool((batch.outline < _MOSTLY).any()):
            raise ValueError(
                f"photo {batch.name} shows nothing outside of the garment, as if the body were not"
                " there; expected masks of the garment that are ignored beyond: give --mask-mode"
                " ignore"
            )
        return self.weight * (share[..., 0] - batch.outline.to(share.dtype) / 255).abs().mean()
