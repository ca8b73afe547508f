"""Light from infinitely far, the same everywhere: a panorama that is learned, and looked up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from splat.core.column import EPSILON, Rate
from splat.core.model import TrainedModule
from splat.strategies.deferred.panorama import coordinates
from splat.strategies.deferred.prefilter import LEVELS, Atlas, prefiltered

GREY = 0.5
"""Radiance from everywhere at the start."""
RATES, TINT_RATES = (3e-2, 3e-3), (3e-3, 1e-3)
"""Learning rates of the logarithms, at the start and the end of a run."""


@dataclass(frozen=True)
class Lit:
    """A panorama made ready to be looked up for surfaces of any roughness."""

    picture: Float[Tensor, "1 3 y x"]
    """As `Atlas` has it."""
    atlas: Atlas

    @classmethod
    def by(cls, panorama: Float[Tensor, "h w 3"]) -> Lit:
        """Of a panorama (`splat.strategies.deferred.panorama`); differentiable."""
        return cls(prefiltered(panorama), Atlas(len(panorama)))

    def __call__(
        self,
        normal: Float[Tensor, "3 n"],
        mirrored: Float[Tensor, "3 n"],
        roughness: Float[Tensor, "n"],
    ) -> tuple[Float[Tensor, "3 n"], Float[Tensor, "3 n"]]:
        """Irradiance over pi at a normal, and what is reflected towards where the eye's ray would
        be `mirrored` to; linear RGB. Directions may have any length."""
        scaled = roughness.clamp(0, 1) * (LEVELS - 1)
        lower = scaled.detach().floor().clamp_max(LEVELS - 2)
        share = scaled - lower
        u, v = coordinates(torch.cat([mirrored, normal], 1))
        n = len(roughness)
        level = torch.cat([lower, lower + 1, torch.full_like(lower, LEVELS)]).long()
        found = self._looked_up(torch.cat([u[:n], u]), torch.cat([v[:n], v]), level)
        smooth, rough, diffuse = found[:, :n], found[:, n : 2 * n], found[:, 2 * n :]
        return diffuse, torch.lerp(smooth, rough, share)

    def seen(self, direction: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """What an eye sees that looks past everything."""
        u, v = coordinates(direction)
        return self._looked_up(u, v, torch.zeros_like(u, dtype=torch.int64))

    def _looked_up(self, u: Tensor, v: Tensor, level: Tensor) -> Float[Tensor, "3 n"]:
        atlas, (rows, columns) = self.atlas, self.atlas.size
        tops = v.new_tensor(atlas.tops).index_select(0, level)
        heights = v.new_tensor(atlas.heights).index_select(0, level)
        # Points of the picture, from -1 to 1 between its edges.
        x = (u * (2 * atlas.rows) + 1) * (2 / columns) - 1
        y = (v * heights + tops) * (2 / rows) - 1
        places = torch.stack([x, y], -1)[None, None]
        return F.grid_sample(self.picture, places, align_corners=False)[0, :, 0]


class Light(nn.Module):
    """A panorama of which logarithms are learned: radiance stays positive, and no step is too large
    for a dark place or too small for a bright one.

    Brightness is learned fast and tint slowly, so that what is coloured in all photos is taken for
    the colour of things before it is taken for that of the light.
    """

    def __init__(self, rows: int, radiance: float = GREY) -> None:
        """`rows` of twice as many texels, even; of the same radiance everywhere."""
        super().__init__()
        self.log_radiance = nn.Parameter(torch.full((rows, 2 * rows, 1), radiance).log())
        self.tint = nn.Parameter(torch.zeros(rows, 2 * rows, 3))

    @property
    def panorama(self) -> Float[Tensor, "h w 3"]:
        """Linear RGB."""
        return (self.log_radiance + self.tint).exp()

    def forward(self) -> Lit:
        return Lit.by(self.panorama)

    def trained(self, steps: int) -> TrainedModule:
        """With an optimizer for a run of so many steps."""
        parts = ((self.log_radiance, RATES), (self.tint, TINT_RATES))
        groups = [{"params": [values], "lr": start} for values, (start, _) in parts]
        optimizer = torch.optim.Adam(groups, eps=EPSILON, foreach=True)
        return TrainedModule(self, optimizer, [Rate(*rates, steps) for _, rates in parts])
