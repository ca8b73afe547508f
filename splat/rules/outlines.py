"""Maps of what a picture shows within and outside of the outline of its photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from splat.system.ranges import at_least
from splat.types import Batch, Rendered


@dataclass(frozen=True)
class Outlined:
    """1 in photos that have an outline, else 0."""

    def __call__(self, rendered: Rendered, batch: Batch) -> Float[Tensor, "h w"]:
        make = torch.zeros_like if batch.outline is None else torch.ones_like
        return make(rendered.alpha.detach())


@dataclass(frozen=True)
class Beyond:
    """How much of a pixel lies outside of the photo's outline, grown by `margin` pixels; 0 where
    the photo has none."""

    margin: Annotated[int, at_least(0)] = 1

    def __call__(self, rendered: Rendered, batch: Batch) -> Float[Tensor, "h w"]:
        if batch.outline is None:
            return torch.zeros_like(rendered.alpha.detach())
        return 1 - grown(batch.outline, self.margin)


def grown(outline: Tensor, margin: int) -> Float[Tensor, "h w"]:
    """An outline in [0, 1], moved outward by so many pixels."""
    inside = outline.float()[None, None] / 255
    return max_pool2d(inside, 2 * margin + 1, 1, margin)[0, 0]
