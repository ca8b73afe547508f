"""Points that views propose for their holes, and which of them several views agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter

from splat.cleanup.choices import Fill
from splat.cleanup.erase.inpaint import inpainted
from splat.cleanup.erase.look import Look

Points = Float[np.ndarray, "n 3"]
_SAME = 0.1
"""Share of the depth by which what two views propose may differ and be of one surface."""
_CLEAR = 0.1
"""Share of the depth by which what is left must lie behind a point that a view sees past."""
_AROUND = 5
"""Side of the square of pixels in which all must be seen past: outlines are wrong by a pixel or
two."""


@dataclass(frozen=True)
class Sheet:
    """Points of surfaces to put Gaussians on."""

    places: Points
    normals: Points
    """Unit length, towards the view."""
    colors: Points
    """RGB in [0, 1]."""
    size: Float[np.ndarray, "n"]
    """Distance between neighbouring points of the view there."""


@dataclass(frozen=True)
class Proposal:
    """A view with its hole inpainted."""

    look: Look
    colors: Float[np.ndarray, "h w 3"]
    """RGB in [0, 1], inpainted in the hole."""
    depth: Float[np.ndarray, "h w"]
    """Camera z within the hole, NaN elsewhere."""


def proposal_of(look: Look) -> Proposal:
    """A view with its hole inpainted from the rim."""
    return Proposal(look, *inpainted(look.colors, look.depth, look.hole))


def agreed_points(
    proposals: Sequence[Proposal],
    options: Fill = Fill(),  # noqa: B008
) -> tuple[Sheet, int]:
    """The points that views agree on, and how many were looked at.

    A point of a view is first moved along its ray to the median of what views propose for its
    surface. It stays if then `agree` views, its own among them, have its depth there, in their own
    hole or in what is left; and if none sees what is left clearly behind it. It takes the median of
    the colours of those that agree.
    """
    parts, looked_at = list[Sheet](), 0
    free = [_nearest_around(proposal.look.depth) for proposal in proposals]
    for i, proposal in enumerate(proposals):
        v, u = np.nonzero(np.isfinite(proposal.depth))
        some = (v % options.stride == 0) & (u % options.stride == 0)
        v, u = v[some], u[some]
        looked_at += len(v)
        others = [j for j in range(len(proposals)) if j != i]
        if len(v) and others:
            parts.append(_kept(proposal, u, v, [(proposals[j], free[j]) for j in others], options))
    none = np.empty((0, 3))
    parts.append(Sheet(none, none, none, np.empty(0)))
    names = [field.name for field in fields(Sheet)]
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Sheet(**whole), looked_at


def _kept(
    proposal: Proposal,
    u: NDArray[np.int64],
    v: NDArray[np.int64],
    others: Sequence[tuple[Proposal, Float[np.ndarray, "h w"]]],
    options: Fill,
) -> Sheet:
    """Those of a view's points that enough of the others agree on and none sees past."""
    eye, places = proposal.look.camera.centre.double().numpy(), _lifted(proposal, u, v)
    ratios = [_Seen(places, other).ratio(_SAME) for other, _ in others]
    move = np.nanmedian(np.stack([np.ones(len(v)), *ratios]), 0)
    places = eye + (places - eye) * move[:, None]
    own = np.abs(1 / move - 1) <= options.tolerance
    votes, past = own.astype(np.int64), np.zeros(len(v), bool)
    colors = [np.where(own[:, None], proposal.colors[v, u], np.nan)]
    for other, free in others:
        seen = _Seen(places, other)
        same = np.isfinite(seen.ratio(options.tolerance))
        votes += same
        past |= seen.past(free)
        there = (same & seen.hole)[:, None]
        colors.append(np.where(there, other.colors[seen.row, seen.column], np.nan))
    tints = np.stack(colors)
    good = (votes >= options.agree) & ~past & np.isfinite(tints[..., 0]).any(0)
    return Sheet(
        places[good],
        _facing(proposal, u[good], v[good]),
        np.nanmedian(tints[:, good], 0),
        options.stride * (proposal.depth[v, u] * move)[good] / float(proposal.look.camera.K[0, 0]),
    )


class _Seen:
    """What another view shows at the pixels of points."""

    def __init__(self, places: Points, other: Proposal) -> None:
        camera = other.look.camera
        pose, K = camera.world_to_camera.double().numpy(), camera.K.double().numpy()
        x, y, z = (places @ pose[:3, :3].T + pose[:3, 3]).T
        self._z = np.where(z > 0, z, 1.0)
        u, v = K[0, 0] * x / self._z + K[0, 2], K[1, 1] * y / self._z + K[1, 2]
        inside = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        self.column = np.where(inside, u, 0).astype(int)
        self.row = np.where(inside, v, 0).astype(int)
        self.hole = inside & other.look.hole[self.row, self.column]
        self._bare = inside & ~self.hole
        depths = np.where(other.look.hole, other.depth, other.look.depth)
        self._depth = np.where(inside, depths[self.row, self.column], np.nan)

    def ratio(self, tolerance: float) -> NDArray[np.float64]:
        """Its depth over that of the points; NaN where they differ by more than a share."""
        ratio = np.where(np.isfinite(self._depth), self._depth, np.nan) / self._z
        return np.where(np.abs(ratio - 1) <= tolerance, ratio, np.nan)

    def past(self, free: Float[np.ndarray, "h w"]) -> NDArray[np.bool_]:
        """Whether all around, outside of its hole, what it sees lies clearly behind the points."""
        return np.asarray(self._bare & (free[self.row, self.column] > (1 + _CLEAR) * self._z))


def _nearest_around(depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Least depth in the square around each pixel, 0 where part of it is not known."""
    known_depth = np.where(np.isnan(depth), 0, depth)
    return np.asarray(minimum_filter(known_depth, _AROUND, mode="nearest"))


def _lifted(proposal: Proposal, u: NDArray[np.int64], v: NDArray[np.int64]) -> Points:
    """Pixels of a hole back-projected into the world."""
    camera = proposal.look.camera
    pose, K = camera.world_to_camera.double().numpy(), camera.K.double().numpy()
    z = proposal.depth[v, u]
    x = (u + 0.5 - K[0, 2]) / K[0, 0] * z
    y = (v + 0.5 - K[1, 2]) / K[1, 1] * z
    return np.asarray((np.stack([x, y, z], 1) - pose[:3, 3]) @ pose[:3, :3])


def _facing(proposal: Proposal, u: NDArray[np.int64], v: NDArray[np.int64]) -> Points:
    """Unit normals of the filled depth, towards the camera."""
    height, width = proposal.depth.shape

    def stepped(right: int, down: int) -> Points:
        x, y = (u + right).clip(0, width - 1), (v + down).clip(0, height - 1)
        missing = ~np.isfinite(proposal.depth[y, x])
        return _lifted(proposal, np.where(missing, u, x), np.where(missing, v, y))

    across, along = stepped(1, 0) - stepped(-1, 0), stepped(0, 1) - stepped(0, -1)
    normal = np.cross(along, across)
    toward = proposal.look.camera.centre.double().numpy() - _lifted(proposal, u, v)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.where(length > 1e-12, normal / np.maximum(length, 1e-12), toward)
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return np.asarray(normal * np.where((normal * toward).sum(1) < 0, -1.0, 1.0)[:, None])
