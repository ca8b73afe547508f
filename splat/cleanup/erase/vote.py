"""Which Gaussians a few masks mean: each votes with its blending weight in the masked views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import max_pool2d

from splat.cleanup.choices import Choice
from splat.types import Camera, Gaussians, Needs, Rendered, Renderer

_NEIGHBOURS = 4
"""Neighbours whose mean distance is the spacing of a row."""
_ROUNDS = 20
"""Times that what is to go may grow by its reach."""
_BEHIND = 0.02
"""Share of the depth from which a row lies behind what is seen in its pixel."""
_HARDLY = 0.05
"""Blending weight in all voting views together, pixels, below which a row was hardly seen."""


@dataclass(frozen=True)
class Votes:
    """Votes of masked views on every row."""

    share: Float[Tensor, "n"]
    """Masked share of the row's blending weight in these views; 0 where it is not seen."""
    seen: Float[Tensor, "n"]
    """Its blending weight in these views, pixels."""
    within: Bool[Tensor, "n"]
    """Its centre lies in a masked pixel of one of these views at least, and in an unmasked one of
    none in which it is not hidden: the visual hull of the masks."""

    @property
    def unmeant(self) -> Bool[Tensor, "n"]:
        """Rows that these views see, and no mask shows: they stay whatever else goes."""
        return (self.share == 0) & (self.seen >= _HARDLY)


@torch.no_grad()
def vote(
    seen_by: Callable[[Camera], Gaussians],
    render: Renderer,
    cameras: Sequence[Camera],
    masks: Sequence[UInt8[Tensor, "h w"]],
    background: Float[Tensor, "3"] | None = None,
    shown: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Votes:
    """P_i = sum over views and pixels of w_ip [masked] / sum of w_ip, for what is seen by cameras.

    Mask `i` is above 0 where camera `i`, of its size, sees what is meant; values up to 255 are
    shares. `seen_by` gives the rows, as many for every camera. Sums are in float64.
    """
    if not cameras or len(cameras) != len(masks):
        raise ValueError(
            f"there are {len(cameras)} cameras and {len(masks)} masks; expected one mask a camera"
        )
    mass = inside = masked = bare = torch.zeros(0)
    for i in shown(range(len(cameras))):
        camera = cameras[i]
        mask = masks[i].to(render.device)
        if mask.shape != (camera.height, camera.width):
            raise ValueError(
                f"a mask is {mask.shape[1]}x{mask.shape[0]} pixels, its camera {camera.width}x"
                f"{camera.height}; expected the same size: resize one of them"
            )
        rows, share = seen_by(camera), (mask.float() / 255)[..., None]
        survey = render.survey(rows, camera, background, partial(constant_map, share))[1]
        if not i:
            mass, inside, masked, bare = torch.zeros(4, len(rows), device=render.device).double()
        mass += survey.mass.double()
        inside += survey.weighted[:, 0].double()
        depth = render(rows, camera, Needs(depth=True), background).depth
        assert depth is not None
        there, meant = _looked_up(rows.means, camera, depth, mask)
        masked += meant
        bare += there & ~meant
    # Sums of the same weights in two orders differ by a rounding.
    share = (inside / mass.clamp_min(1e-12)).clamp(0, 1)
    return Votes(share.float(), mass.float(), (masked > 0) & (bare == 0))


def constant_map(map: Float[Tensor, "h w m"], rendered: Rendered) -> Float[Tensor, "h w m"]:
    """A map of weights that does not depend on the picture."""
    del rendered
    return map


def rows_to_erase(
    gaussians: Gaussians,
    votes: Votes,
    choice: Choice = Choice(),  # noqa: B008
) -> Bool[Tensor, "n"]:
    """Rows to erase, by their votes.

    A row that was seen and that no mask shows (share 0) stays, unless `choice.outside` erases all
    that masks do not show.
    """
    meant = votes.share > choice.threshold
    if choice.grow:
        hardly = votes.seen < _HARDLY
        open_to = votes.within & ((votes.share >= max(choice.low, 1e-6)) | hardly)
        meant = _grown(gaussians.means, meant, open_to & ~meant, choice.grow)
    return ~meant if choice.outside else meant


def _grown(
    means: Float[Tensor, "n 3"],
    rows: Bool[Tensor, "n"],
    candidates: Bool[Tensor, "n"],
    reach: float,
) -> Bool[Tensor, "n"]:
    """The rows, and candidates near them or near candidates taken before."""
    places = means.double().cpu().numpy()
    taken, left = rows.cpu().numpy().copy(), candidates.cpu().numpy().copy()
    count = int(taken.sum())
    if count < 2 or not left.any():
        return rows
    own = places[taken]
    distance = cKDTree(own).query(own, min(_NEIGHBOURS + 1, count))[0][:, 1:]
    limit = reach * float(np.median(distance.mean(1)))
    last = own
    for _ in range(_ROUNDS):
        some = np.flatnonzero(left)
        near = np.isfinite(cKDTree(last).query(places[some], distance_upper_bound=limit)[0])
        some = some[near]
        if not len(some):
            break
        taken[some], left[some] = True, False
        last = places[some]
    return torch.from_numpy(taken).to(rows.device)


def _looked_up(
    means: Float[Tensor, "n 3"],
    camera: Camera,
    depth: Float[Tensor, "h w"],
    mask: UInt8[Tensor, "h w"],
) -> tuple[Bool[Tensor, "n"], Bool[Tensor, "n"]]:
    """Which points are in the picture, in masked pixels or not behind what is seen; and which of
    them in masked pixels."""
    pose, K = camera.world_to_camera, camera.K
    x, y, z = (means @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    inside = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    pixel = v.where(inside, 0).long() * camera.width + u.where(inside, 0).long()
    # Outlines are as wrong as a pixel.
    grown = max_pool2d((mask > 0).float()[None, None], 3, 1, 1)[0, 0]
    masked = inside & (grown.flatten()[pixel] > 0)
    seen = inside & (z <= (1 + _BEHIND) * depth.flatten()[pixel])
    return masked | seen, masked
