"""Bilateral grids: maps of colours that change over a photo and with brightness."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from splat.core.column import Rate
from splat.core.maps import LUMA
from splat.core.model import TrainedModule
from splat.core.objective import Objective
from splat.core.step import Step
from splat.sensor.rows import RowAdam

SIZE = (8, 16, 16)
"""Cells along brightness, down and across."""
RATE, RATE_END = 2e-3, 2e-4
SMOOTH = 10.0
"""Weight of the squared differences between neighbouring cells, mean over the grid."""


class Grids(nn.Module):
    """A change of colours for every cell of a grid over place and brightness, for each view,
    or for each camera that took several.

    Wang et al. 2024, Bilateral Guided Radiance Field Processing: colours are mapped by what lies
    at their place and luma in the grid, between cells linearly. Colours that it reads are those
    that a matrix for the view has mapped, which has the gauge of all tones; a grid's own mean is
    taken out of it.
    """

    known_as = "bilateral grid"

    def __init__(self, views: int) -> None:
        super().__init__()
        self.cells = nn.Parameter(torch.zeros(views, 12, *SIZE))

    def local(self, view: int) -> Float[Tensor, "12 z y x"]:
        """Change of the colour matrix in each cell of a view's grid; its mean is zero."""
        own = self.cells[view]
        return own - own.mean((1, 2, 3), keepdim=True)

    def forward(self, image: Float[Tensor, "h w 3"], view: int) -> Float[Tensor, "h w 3"]:
        """A picture of the scene as the photo of this view would have developed it."""
        h, w = image.shape[:2]
        luma = (image @ image.new_tensor(LUMA)).clamp(0, 1)
        y, x = (
            (2 * (torch.arange(n, dtype=image.dtype, device=image.device) + 0.5) / n - 1)
            for n in (h, w)
        )
        place = torch.stack([x.expand(h, w), y[:, None].expand(h, w), 2 * luma - 1], -1)
        sampled = functional.grid_sample(
            self.local(view)[None], place[None, None], align_corners=True, padding_mode="border"
        )[0, :, 0]
        maps = sampled.reshape(3, 4, h, w)
        change = torch.einsum("ijhw,hwj->hwi", maps[:, :3], image) + maps[:, 3].permute(1, 2, 0)
        return image + change

    def trained(self, steps: int, at_once: int = 1) -> TrainedModule:
        """The grids with their optimizer, for `steps` steps of `at_once` photos each."""
        del at_once
        rates = [Rate(RATE, RATE_END, steps)]
        return TrainedModule(self, RowAdam([self.cells]), rates, of_photos=True)


class Smooth(Objective):
    """weight * sum over axes of the mean squared difference of neighbouring cells (eq. 6 there)."""

    def __init__(self, grids: Grids, weight: float = SMOOTH) -> None:
        self.grids, self.weight = grids, weight

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        cells = self.grids.cells[step.batch.camera.sensor]
        total = cells.new_zeros(())
        for axis in (1, 2, 3):
            total = total + cells.diff(dim=axis).square().mean()
        return self.weight * total
