"""Balls of air around cameras, in which nothing is known to be, and rows that reach into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.types import Camera

SIGMAS = 3.0
"""Standard deviations that a Gaussian reaches: beyond, it is below a hundredth of its middle."""
_AT_ONCE = 1 << 22
"""Pairs of a row and a ball that are looked at in one go."""


@dataclass(frozen=True)
class Balls:
    """Balls in which there is air, frame of training."""

    centres: Float[Tensor, "m 3"]
    radii: Float[Tensor, "m"]

    @classmethod
    def around(cls, cameras: Sequence[Camera]) -> Balls | None:
        """Those around cameras that know their air (`Camera.clear_radius`); None: none does."""
        some = [camera for camera in cameras if camera.clear_radius > 0]
        if not some:
            return None
        poses = torch.stack([camera.world_to_camera for camera in some])
        centres = -(poses[:, :3, :3] * poses[:, :3, 3, None]).sum(1).float()
        return cls(centres, centres.new_tensor([camera.clear_radius for camera in some]))

    def hold(self, positions: Float[Tensor, "n 3"]) -> Bool[Tensor, "n"]:
        """Which positions lie in one of them."""
        parts = positions.split(max(1, _AT_ONCE // len(self.radii)))
        inside = [(torch.cdist(each, self.centres) < self.radii).any(1) for each in parts]
        return torch.cat(inside) if inside else positions.new_zeros(0, dtype=torch.bool)

    def fitting(
        self, positions: Float[Tensor, "n 3"], axes: Float[Tensor, "n 3 3"]
    ) -> Float[Tensor, "n"]:
        """The factor, at most 1, on the size of each Gaussian with which it reaches into no ball.

        `axes` has the three axes of each as columns, one standard deviation long. A Gaussian
        reaches as far towards a ball as its ellipsoid of `SIGMAS` has its supporting plane. 0 where
        it lies in one.
        """
        most = SIGMAS * axes.norm(dim=1).amax(1)
        factor = positions.new_ones(len(positions))
        for part in torch.arange(len(positions), device=positions.device).split(
            max(1, _AT_ONCE // len(self.radii))
        ):
            gap = torch.cdist(positions[part], self.centres) - self.radii
            row, ball = (gap < most[part, None]).nonzero().unbind(1)
            room, row = gap[row, ball].clamp_min(0), part[row]
            towards = torch.nn.functional.normalize(self.centres[ball] - positions[row], dim=1)
            reach = SIGMAS * (towards[:, None] @ axes[row])[:, 0].norm(dim=1)
            wanted = (room / reach.clamp_min(1e-30)).clamp_max(1)
            factor.scatter_reduce_(0, row, wanted, "amin")
        return factor
