"""Balls of air around cameras, in which nothing is known to be, and rows that reach into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.math import rotation_matrices
from splat.types import Camera

SIGMAS = 3.0
"""Standard deviations that a Gaussian reaches: beyond, it is below a hundredth of its middle."""
_TURNS = 12
"""Steps of Newton's method with which a plane between a ball and an ellipsoid is turned."""
_LOOSE = 1.001
"""Factor on distances that are compared without being exact."""
_AT_ONCE = 1 << 18
"""Pairs of a row and a ball that are looked at in one go."""


@dataclass(frozen=True)
class Balls:
    """Balls in which there is air, frame of training."""

    centres: Float[Tensor, "m 3"]
    radii: Float[Tensor, "m"]

    @classmethod
    def around(cls, cameras: Sequence[Camera]) -> Balls | None:
        """Those around cameras that know their air (`Camera.clear_radius`), and between them
        (`Camera.clear_between`); None: none does."""
        some = [camera for camera in cameras if camera.clear_radius > 0]
        if not some:
            return None
        poses = torch.stack([camera.world_to_camera for camera in some])
        centres = -(poses[:, :3, :3] * poses[:, :3, 3, None]).sum(1).float()
        radii = centres.new_tensor([camera.clear_radius for camera in some])
        # Cameras of a rig took many photos each.
        balls = torch.cat([centres, radii[:, None]], 1)
        between = [ball for camera in some for ball in camera.clear_between]
        balls = torch.cat([balls, balls.new_tensor(between).reshape(-1, 4)])
        alone = balls.unique(dim=0)
        balls = alone if len(alone) < len(balls) else balls
        return cls(balls[:, :3].contiguous(), balls[:, 3].contiguous())

    def hold(self, positions: Float[Tensor, "n 3"]) -> Bool[Tensor, "n"]:
        """Which positions lie in one of them."""
        parts = positions.split(max(1, _AT_ONCE // len(self.radii)))
        inside = [(torch.cdist(each, self.centres) < self.radii).any(1) for each in parts]
        return torch.cat(inside) if inside else positions.new_zeros(0, dtype=torch.bool)

    def fitting(
        self,
        positions: Float[Tensor, "n 3"],
        sizes: Float[Tensor, "n 3"],
        quats: Float[Tensor, "n 4"],
    ) -> Float[Tensor, "n"]:
        """The factor, at most 1, on the size of each Gaussian with which it reaches into no ball.

        `sizes` are standard deviations along its own axes. What reaches is the ellipsoid of
        `SIGMAS`. 0 where a position lies in a ball.
        """
        most = SIGMAS * sizes.amax(1)
        # Few are near: what is dear is done for these, all at once.
        row, ball = self._near(positions, most)
        size, radius = sizes[row].clamp_min(1e-15), self.radii[ball]
        apart = self.centres[ball] - positions[row]
        away = (rotation_matrices(quats[row]) * apart[:, :, None]).sum(1)
        wanted = _sizes(away, away, size, radius)
        few = ((wanted > 0) & (wanted < 1)).nonzero().squeeze(1)
        away, size, radius = away[few], size[few], radius[few]
        wanted[few] = _sizes(_between(away, size, radius), away, size, radius)
        return positions.new_ones(len(positions)).scatter_reduce_(0, row, wanted, "amin")

    def _near(
        self, positions: Float[Tensor, "n 3"], most: Float[Tensor, "n"]
    ) -> tuple[Int[Tensor, "p"], Int[Tensor, "p"]]:
        """Pairs of a position and a ball that is at most so far from it, and some that are not.

        |p - c|^2 - (most + radius)^2 as a product of matrices, which is quick and not exact. A ball
        is a row of it: columns' minima are taken several at a time.
        """
        loose = _LOOSE**2
        x, y, z = positions.unbind(1)
        square = x * x + y * y + z * z - loose * most * most
        rows = torch.stack([x, y, z, most, square, torch.ones_like(most)])
        balls = torch.cat(
            [
                -2 * self.centres,
                -2 * loose * self.radii[:, None],
                torch.ones_like(self.radii)[:, None],
                (self.centres.square().sum(1) - loose * self.radii.square())[:, None],
            ],
            1,
        )
        pairs, start = [torch.zeros(0, 2, dtype=torch.int64, device=positions.device)], 0
        for part in rows.split(max(1, _AT_ONCE // len(self.radii)), 1):
            gaps = balls @ part
            some = (gaps.amin(0) <= 0).nonzero().squeeze(1)
            pair, ball = (gaps[:, some].T <= 0).nonzero().unbind(1)
            pairs.append(torch.stack([start + some[pair], ball], 1))
            start += part.shape[1]
        row, ball = torch.cat(pairs).unbind(1)
        return row, ball


def _sizes(
    normal: Float[Tensor, "p 3"],
    away: Float[Tensor, "p 3"],
    size: Float[Tensor, "p 3"],
    radius: Float[Tensor, "p"],
) -> Float[Tensor, "p"]:
    """The factor on each ellipsoid with which it touches the plane of that normal before its ball.

    All along the axes of the ellipsoid, `away` from its middle to the ball's. Whichever the normal,
    the two do not meet then.
    """
    room = (normal * away).sum(1) - radius * normal.square().sum(1).sqrt()
    reach = SIGMAS * (normal * size).square().sum(1).sqrt()
    return (room / reach.clamp_min(1e-30)).clamp(0, 1)


def _between(
    away: Float[Tensor, "p 3"], size: Float[Tensor, "p 3"], radius: Float[Tensor, "p"]
) -> Float[Tensor, "p 3"]:
    """The normal of the plane that leaves an ellipsoid most room before a ball, or almost.

    That plane touches the ball where it is nearest as the ellipsoid measures, least |u / size| over
    u = away - b, |b| <= radius. There b_i = away_i / (1 + k size_i^2) with the k for which |b| is
    the radius. 1 / |b| is concave in k, so that Newton's method comes to k from below.
    """
    squares = size.square()
    k = (away.square().sum(1).sqrt() / radius - 1) / squares.amax(1)
    for _ in range(_TURNS):
        share = 1 / (1 + k[:, None] * squares)
        length = (away * share).square().sum(1).sqrt()
        rise = (away.square() * squares * share**3).sum(1) / length**3
        k = k + ((1 / radius - 1 / length) / rise).clamp_min(0)
    return away / (1 + k[:, None] * squares)
