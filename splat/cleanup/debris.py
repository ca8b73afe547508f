"""Debris in sets of Gaussians: masks of the rows that are hardly ever wanted, a reason each.

Limits are relative to the scene and were chosen on trained ones so that its own rows stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from splat.cleanup.choices import Box, Limits
from splat.cleanup.shapes import giants, needles
from splat.core.frame import finite
from splat.formats.order import spatial_order
from splat.types import Camera, Gaussians, Renderer

_Whole = NDArray[np.integer[Any]]

_NEIGHBOURS = 8
_REACH = 10.0
"""Gap between linked neighbours, at most, in median distances to the last of those neighbours."""
_TOUCH = 3.0
"""Radius of a Gaussian, in standard deviations."""
_MOST = 64
"""Neighbours of a row that is not on the largest island, so many are looked at."""


def debris(
    gaussians: Gaussians,
    limits: Limits = Limits(),  # noqa: B008
) -> dict[str, Bool[Tensor, "n"]]:
    """Rows to remove by reason; a row may have several, but broken ones have no other."""
    whole = finite(gaussians)
    rows = whole.nonzero()[:, 0]
    if not len(rows):
        return {"broken": ~whole}
    part = gaussians if len(rows) == len(whole) else gaussians.take(rows)
    means, scales = part.means.cpu().numpy(), part.scales.cpu().numpy()

    def mask(found: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(found).to(whole.device)

    reasons = {
        "floaters": islands(part, limits.floaters) if limits.floaters else None,
        "giants": mask(giants(means, scales, limits.giants)) if limits.giants else None,
        "needles": mask(needles(scales, limits.needles)) if limits.needles else None,
        "faint": part.opacities < limits.faint if limits.faint else None,
        "outside": outside(part, limits.box) if limits.box else None,
    }
    masks = {"broken": ~whole}
    for reason, chosen in reasons.items():
        if chosen is not None:
            masks[reason] = torch.zeros_like(whole).index_put_((rows,), chosen)
    return masks


def islands(gaussians: Gaussians, fewest: int) -> Bool[Tensor, "n"]:
    """Members of islands of fewer than `fewest` rows; values must be finite.

    Near neighbours are of one island if the gap between their centres is no more than ten times
    the usual one, or if they touch within three standard deviations of their longest axes. Where no
    island holds half of the rows, nothing is said to float.
    """
    order = spatial_order(gaussians.means).numpy()
    centres = gaussians.means.cpu().numpy()[order]
    # Rows at one place are one site: a search among equal points has no end.
    starts = np.flatnonzero(np.append(True, (np.diff(centres, axis=0) != 0).any(1)))
    rows = np.diff(np.append(starts, len(order)))
    longest = gaussians.scales.amax(1).cpu().numpy()[order]
    radius = _TOUCH * np.maximum.reduceat(longest, starts).astype(np.float64)
    sites = _floating(centres[starts].astype(np.float64), radius, rows, fewest)
    floating = np.empty(len(order), bool)
    floating[order] = np.repeat(sites, rows)
    return torch.from_numpy(floating).to(gaussians.means.device)


def outside(gaussians: Gaussians, box: Box) -> Bool[Tensor, "n"]:
    """Rows whose centres lie outside a box of a low corner and a high one."""
    low, high = (gaussians.means.new_tensor(corner) for corner in (box[:3], box[3:]))
    return ((gaussians.means < low) | (gaussians.means > high)).any(1)


@torch.no_grad()
def unseen(gaussians: Gaussians, cameras: Iterable[Camera], render: Renderer) -> Bool[Tensor, "n"]:
    """Rows that are drawn in no pixel of any camera: out of sight, hidden or too faint."""
    seen = torch.zeros(len(gaussians), dtype=torch.bool, device=gaussians.means.device)
    for camera in cameras:
        seen |= render.survey(gaussians, camera)[1].hits > 0
    return ~seen


def _floating(
    sites: NDArray[np.float64], radius: NDArray[np.float64], rows: _Whole, fewest: int
) -> NDArray[np.bool_]:
    """Sites on islands of fewer than `fewest` rows; `rows` says how many are at each."""
    n, tree = len(sites), cKDTree(sites)
    nothing = np.zeros(n, bool)
    if n == 1:
        return nothing
    distance, other = tree.query(sites, min(_NEIGHBOURS + 1, n), workers=-1)
    reach = _REACH * np.median(distance[:, -1])

    def links(some: _Whole, distance: NDArray[np.float64], other: _Whole) -> tuple[_Whole, _Whole]:
        near = distance <= np.maximum(reach, radius[some, None] + radius[other])
        return some[near.nonzero()[0]], other[near]

    start, end = links(np.arange(n), distance, other)
    size = _sizes(rows, start, end)
    if size.max() < rows.sum() / 2:
        return nothing
    # The nearest neighbours of a row in a dense clump are all of the clump, so more are looked at.
    loose = np.flatnonzero(size < size.max())
    more = links(loose, *tree.query(sites[loose], np.arange(1, 1 + min(_MOST, n)), workers=-1))
    size = _sizes(rows, np.append(start, more[0]), np.append(end, more[1]))
    floating: NDArray[np.bool_] = (size < fewest) & (size < size.max())
    return floating


def _sizes(rows: _Whole, start: _Whole, end: _Whole) -> _Whole:
    """Rows of the island that each site is on, from links between sites."""
    n = len(rows)
    graph = coo_matrix((np.ones(len(start), np.int8), (start, end)), shape=(n, n))
    island = connected_components(graph, directed=False)[1]
    size: _Whole = np.bincount(island, weights=rows).astype(np.int64)[island]
    return size
