"""What Gaussians on the surface of a field look like, out of features of a volume."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree
from torch import Tensor, nn

from splat.datasets.objects.files import TRIANGLE
from splat.generate.encoders import Encoder
from splat.generate.field import about, points, sampled
from splat.generate.surface import ABOUT, Surface, near
from splat.generate.unet import Shape, UNet
from splat.math import SH_C0, quaternions
from splat.types import Gaussians

FEATURES, HIDDEN = 24, 128
OCTAVES = 4
"""Of waves that tell where in the cube a place is, the longest as long as its edge: patterns are
finer than the volumes that features come from."""
NUMBERS = 4
"""What is said of a place: colour 3, opacity."""
UNSURE, GAP = 0.2, 0.9
"""How likely a place has to be, and how far in cells from all others, to fill a gap: of a shell
with one nothing is closed off. Of 40 things without a hole, of their true fields, 3 have one so,
and 10 if none is filled; more, or nearer ones, close the holes that there are."""
FARTHEST = 1.5
"""Offset at most, in cells along each axis."""
THINNEST, WIDEST = 0.02, 4.0
"""Standard deviations at least and at most, in cells."""


class Attributes(nn.Module):
    """A U-Net without time over a field, and a small network for each place.

    Differs from GVGEN: volumes are coarse, and features are sampled where Gaussians are.
    """

    def __init__(self, words: int | Encoder, shape: Shape) -> None:
        super().__init__()
        self.unet = UNet(1, FEATURES, words, shape, timed=False)
        # The U-Net begins as nothing, which tells a network behind it nothing.
        nn.init.normal_(self.unet.end.weight, std=0.02)
        self.each = nn.Sequential(
            nn.Linear(FEATURES + ABOUT + 3 + 6 * OCTAVES, HIDDEN), nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, NUMBERS),
        )  # fmt: skip

    def forward(
        self,
        fields: Float[Tensor, "b x y z"],
        numbers: Int[Tensor, "b t"],
        places: Float[Tensor, "b n 3"],
    ) -> Float[Tensor, "b n 4"]:
        features = sampled(self.unet(fields[:, None], numbers), places)
        angles = torch.cat([2 * math.pi * 2**k * places for k in range(OCTAVES)], 2)
        found: Tensor = self.each(
            torch.cat([features, *about(fields, places), angles.sin(), angles.cos()], 2)
        )
        return found


def matrices(six: Float[Tensor, "n 6"]) -> Float[Tensor, "n 3 3"]:
    """Symmetric matrices of their upper triangles."""
    whole = six.new_zeros(len(six), 3, 3)
    for k, (i, j) in enumerate(TRIANGLE):
        whole[:, i, j] = whole[:, j, i] = six[:, k]
    return whole


def gaussians_of(
    offsets: Float[Tensor, "n 3"],
    roots: Float[Tensor, "n 6"],
    rgb: Float[Tensor, "n 3"],
    opacities: Float[Tensor, "n"],
    places: Float[Tensor, "n 3"],
    cell: float,
) -> Gaussians:
    """Gaussians of a corpus' numbers, offsets and roots in cells, at places."""
    sizes, turns = torch.linalg.eigh(matrices(roots.double()))
    # A mirror is no turn.
    turns[:, :, 0] *= torch.linalg.det(turns)[:, None]
    means = places.double() + cell * offsets.double().clamp(-FARTHEST, FARTHEST)
    return Gaussians(
        means=means.float(),
        quats=quaternions(turns).float(),
        scales=(cell * sizes.clamp(THINNEST, WIDEST)).float(),
        opacities=opacities.float().clamp(0, 1),
        colors=((rgb.float().clamp(0, 1) - 0.5) / SH_C0)[:, None],
        sh_degree=0,
    )


@torch.no_grad()
def drawn(
    surface: Surface,
    looks: Attributes,
    field: Float[Tensor, "x y z"],
    numbers: Int[Tensor, "1 t"],
    grid: int,
) -> Gaussians:
    """The Gaussians of a field; none where it shows no surface.

    As many as are expected, at the likeliest places: where the network is unsure of which of
    several places has one, none of them may be likelier than not. And those that fill gaps.
    """
    places = torch.from_numpy(points(grid)).float()[near(field[None], grid)[0]]
    said = surface(field[None], places[None])[0]
    likely = said[:, 0].sigmoid()
    count = round(float(likely.double().sum()))
    cell, order = 1 / (grid - 1), likely.argsort(descending=True, stable=True)
    more = order[count:][likely[order[count:]] > UNSURE]
    means = places + cell * said[:, 1:4].clamp(-FARTHEST, FARTHEST)
    filling = _filling(means[order[:count]].numpy(), means[more].numpy(), GAP * cell)
    there = torch.cat([order[:count], more[filling]]).sort().values
    said, places = said[there], places[there]
    colours = looks(field[None], numbers, means[there][None])[0].sigmoid()
    return gaussians_of(said[:, 1:4], said[:, 4:], colours[:, :3], colours[:, 3], places, cell)


def _filling(
    have: Float[ndarray, "n 3"], more: Float[ndarray, "m 3"], far: float
) -> Int[Tensor, "k"]:
    """Which of more places, one after the other, are so far from all that are there by then."""
    filling: list[int] = []
    away = cKDTree(have).query(more)[0] if len(have) else np.full(len(more), np.inf)
    for i in np.flatnonzero(away > far).tolist():
        if (np.linalg.norm(more[filling] - more[i], axis=1) > far).all():
            filling.append(i)
    return torch.tensor(filling, dtype=torch.long)
