"""Where the Gaussians near the surface of a field are: of each place, by the voxels about it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from splat.generate.field import about, distances, points, sampled

HIDDEN = 256
ABOUT = 4**3
"""Voxels of the field about a place."""
NEAR = 1.5
"""Cells from the nearest Gaussian, as the field says, within which places are asked."""
NUMBERS = 10
"""What is said of a place: whether there is a Gaussian, offset 3 and root of the covariance 6 in
cells, of that or of the nearest one."""


class Surface(nn.Module):
    """A small network for each place, which knows no words.

    Differs from GVGEN, whose second stage is one network over the whole volume that says all of a
    Gaussian. Where a surface is between voxels they tell themselves, and a network that sees a few
    of them learns it from many things at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(
            nn.Linear(ABOUT + 3, HIDDEN), nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN), nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, NUMBERS),
        )  # fmt: skip

    def forward(
        self, fields: Float[Tensor, "b x y z"], places: Float[Tensor, "b n 3"]
    ) -> Float[Tensor, "b n 10"]:
        found: Tensor = self.each(torch.cat(about(fields, places), 2))
        return found


def near(fields: Float[Tensor, "b x y z"], grid: int) -> Bool[Tensor, "b n"]:
    """Which places of a grid are near the surface that a field shows."""
    places = torch.from_numpy(points(grid)).to(fields)
    far = distances(sampled(fields[:, None], places.expand(len(fields), -1, -1))[..., 0])
    return far < NEAR / (grid - 1)
