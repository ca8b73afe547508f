"""What views see of the places of Gaussians: a surface, or nothing once they are taken away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.math import rotation_matrices
from splat.types import Camera, Contributions, Gaussians, Needs, Renderer

PLAIN_SIGHT = 0.5
"""Transmittance before a row from which on a view sees its place."""
TWO_VIEWS = 1.5
"""Sight that finds a surface, summed over views, which at least two must have given."""
NEAREST = 0.01
"""Share of the rows of a view that may be nearer than all that is known to be there."""
MOST_BINS = 64
"""Bins of depth in a view, at most."""
OUTSIDE = 0.002, 0.98
"""Quantiles of the depths of a view's rows between which its bins lie."""
MARGIN = 1.5
"""Factor by which the bins reach nearer and farther than these quantiles."""


@dataclass(frozen=True)
class Places:
    """What views see of the places of n rows."""

    seen: Float[Tensor, "n"]
    """Sight of a row: transmittance in front of it, summed over the views where it is half or more;
    float64, as the others."""
    held: Float[Tensor, "n"]
    """The part of that sight which finds a surface there without the row."""
    near: Bool[Tensor, "n"]
    """Nearer to a camera that draws them than anything that is known to be in its sight."""
    mass: Float[Tensor, "n"]
    """Blending weight, summed over the pixels of the views."""

    @property
    def alone(self) -> Float[Tensor, "n"]:
        """Share of the sight that finds no surface; 0 where there is none."""
        return (self.seen - self.held) / self.seen.where(self.seen > 0, 1)


@dataclass(frozen=True)
class _Sight:
    """The rows that one view draws, and how much of its sight gets to each."""

    rows: Int[Tensor, "m"]
    seen: Float[Tensor, "m"]
    held: Float[Tensor, "m"]
    depth: Float[Tensor, "m"]

    def where(self, mask: Bool[Tensor, "m"]) -> _Sight:
        return _Sight(self.rows[mask], self.seen[mask], self.held[mask], self.depth[mask])


@dataclass(frozen=True)
class _Bins:
    """Bins of depth of equal ratio, and one more on either side."""

    first: float
    step: float
    """Width of a bin, in the logarithm of depth."""
    count: int

    @classmethod
    def of(cls, depth: Float[Tensor, "m"], tolerance: float) -> _Bins:
        some = depth[:: max(1, len(depth) // 20_000)].clamp_min(torch.finfo(depth.dtype).tiny)
        low, high = (float(some.quantile(share)) for share in OUTSIDE)
        # Few rows lie beyond, and they must not share a bin with the outermost of the many.
        span = math.log(high / low) + 2 * math.log(MARGIN)
        count = min(max(math.ceil(span / math.log1p(tolerance)), 1), MOST_BINS - 2)
        return cls(low / MARGIN, max(span / count, math.log1p(tolerance)), count + 2)

    def place(self, depth: Float[Tensor, "m"]) -> Int[Tensor, "m"]:
        tiny = torch.finfo(depth.dtype).tiny
        place = ((depth.clamp_min(tiny) / self.first).log() / self.step).floor()
        return place.clamp(-1, self.count - 2).long() + 1


@torch.no_grad()
def places(
    gaussians: Gaussians, render: Renderer, cameras: Sequence[Camera], tolerance: float
) -> Places:
    """Look from cameras at where the rows of a set are.

    What is of one surface may differ by the share `tolerance` of its depth, beside the size of what
    it is made of. Depths at which a camera sees nothing that two views agree on are taken for
    empty, whatever is there: `clear_depth` says them where it is known.
    """
    n = len(gaussians)
    plain = replace(gaussians, colors=torch.zeros_like(gaussians.means), sh_degree=None)
    plain = plain.to(render.device)
    seen, held, mass = plain.means.new_zeros(3, n, dtype=torch.float64)
    axes = rotation_matrices(plain.quats) * plain.scales[:, None, :]
    sights = []
    for camera in cameras:
        rows = render.survey(plain, camera)[1]
        mass += rows.mass
        sight = _sight(plain, axes, rows, render, camera, tolerance)
        seen.index_add_(0, sight.rows, sight.seen.double())
        held.index_add_(0, sight.rows, sight.held.double())
        sights.append(sight)
    confirmed = (held >= TWO_VIEWS) & (held >= seen / 2)
    near = torch.zeros(n, dtype=torch.bool, device=seen.device)
    for camera, sight in zip(cameras, sights, strict=True):
        before = sight.where(sight.depth < (camera.clear_depth or _clear(sight, confirmed)))
        near[before.rows] = True
        held.index_add_(0, before.rows, -before.held.double())
    return Places(seen, held.clamp_min_(0), near, mass)


def _clear(sight: _Sight, confirmed: Bool[Tensor, "n"]) -> float:
    """Half of the depth of the nearest hundredth of the known rows, as `with_clear_air`."""
    depth = sight.depth[confirmed[sight.rows]]
    return float(depth.kthvalue(1 + int(NEAREST * len(depth))).values) / 2 if len(depth) else 0.0


def _sight(
    plain: Gaussians,
    axes: Float[Tensor, "n 3 3"],
    drawn: Contributions,
    render: Renderer,
    camera: Camera,
    tolerance: float,
) -> _Sight:
    """How much of a view's sight of each row gets there, and finds a surface without the row.

    Asked at the pixel of its centre, or the nearest one inside the picture.
    """
    rows = (drawn.hits > 0).nonzero().squeeze(1)
    if not len(rows):
        nothing = plain.means.new_zeros(0)
        return _Sight(rows, nothing, nothing, nothing)
    part = plain.take(rows)
    pixel, depth = _projected(part.means, camera)
    ahead = camera.world_to_camera[2, :3].to(depth)
    reach = (axes[rows] * ahead[None, :, None]).sum(1).norm(dim=1)
    bins = _Bins.of(depth, tolerance)
    low, high = bins.place(depth - reach), bins.place(depth + reach)
    # Where each Gaussian begins and ends along the sight, blended as channels of a picture.
    marks = depth.new_zeros(len(rows), 2 * bins.count)
    marks.scatter_(1, torch.stack([low, bins.count + high], 1), 1.0)
    picture = render(replace(part, features=marks), camera, Needs()).features
    assert picture is not None
    there = picture.reshape(-1, 2, bins.count).index_select(0, pixel)
    before, upto = _upto(there[:, 1], low - 2), _upto(there[:, 0], high + 1)
    own = drawn.most[rows].minimum((upto - before).clamp_min(0))
    others, behind = (upto - before - own).clamp_min(0), (1 - upto).clamp_min(0)
    seen = (1 - before).clamp(0, 1)
    held = seen * others / (others + behind).clamp_min(torch.finfo(seen.dtype).tiny)
    return _Sight(rows, seen, held, depth).where(seen >= PLAIN_SIGHT)


def _upto(weights: Float[Tensor, "m b"], last: Int[Tensor, "m"]) -> Float[Tensor, "m"]:
    """Cumulative sum of the weights up to and including the bin `last`."""
    sums = torch.nn.functional.pad(weights.cumsum(1), (1, 0))
    return sums.gather(1, (last + 1).clamp(0, weights.shape[1])[:, None]).squeeze(1)


def _projected(
    points: Float[Tensor, "m 3"], camera: Camera
) -> tuple[Int[Tensor, "m"], Float[Tensor, "m"]]:
    """The nearest pixel of each point, numbered by rows, and its depth."""
    pose, K = camera.world_to_camera.to(points), camera.K.to(points)
    x, y, z = (points @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    u = (K[0, 0] * x / z + K[0, 2]).clamp(0, camera.width - 1).long()
    v = (K[1, 1] * y / z + K[1, 2]).clamp(0, camera.height - 1).long()
    return v * camera.width + u, z
