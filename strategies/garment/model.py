"""`Dressed`: Gaussians of a body, and those of what it wears."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.column import Rate
from splat.core.edit import Rows
from splat.core.model import Explicit, Making
from splat.types import Camera, Gaussians

LAYER = "layer"
"""Column: 1 for a row of the garment, 0 for one of the body; children have their parent's."""


class Dressed(Explicit):
    """Every row is one Gaussian, of the body or of the garment.

    Columns: those of `Explicit`, and `layer` [N], which nothing trains. What is drawn has it as its
    only feature, so that a picture's features say how much of a pixel is garment.
    """

    unit = "Gaussians of a body and a garment"

    def __init__(self, rows: Rows, making: Making) -> None:
        super().__init__(rows, **making.of_rows)
        self.cloud.add(LAYER, rows[LAYER], Rate(0.0))

    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        gaussians = super().forward(camera, step)
        return replace(gaussians, features=self.cloud[LAYER].detach()[:, None])


def worn(cloud: Cloud) -> Bool[Tensor, "n"]:
    """Rows of the garment."""
    return cloud[LAYER].detach() > 0.5


def both(body: Rows, garment: Rows) -> dict[str, Tensor]:
    """Rows of a body and of a garment as those of one model."""
    rows = {name: torch.cat([values, garment[name]]) for name, values in body.items()}
    layers = [
        body["mean"].new_zeros(len(body["mean"])),
        body["mean"].new_ones(len(garment["mean"])),
    ]
    return {**rows, LAYER: torch.cat(layers)}
