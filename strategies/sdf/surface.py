"""A learned signed distance as the surface of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from splat.strategies.sdf.field import Box, Field
from splat.strategies.sdf.refine import refine
from splat.types import Batch, Camera, Gaussians, Renderer


class Learned:
    """A field as the surface of a model (`splat.core.model.Surface`)."""

    def __init__(self, field: Field) -> None:
        self.field = field

    @property
    def box(self) -> Box:
        """What the field was given to fill, frame of training."""
        (a, b, c), (x, y, z) = self.field.box.tolist()
        return (a, b, c), (x, y, z)

    @torch.no_grad()
    def __call__(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Distances, frame of training."""
        return self.field.value(self.field.placed(points)) * self.field.half_side

    def refine(
        self,
        seen_by: Callable[[Camera], Gaussians],
        render: Renderer,
        batches: Callable[[int], Batch],
        *,
        steps: int,
        shown: Callable[[Iterable[int]], Iterable[int]],
    ) -> None:
        """See `splat.strategies.sdf.refine`."""
        refine(self.field, seen_by, render, batches, steps=steps, shown=shown)
