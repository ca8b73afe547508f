"""Which box of space is worth a mesh: that of what the cameras look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from splat.types import Camera, Gaussians

Corners = tuple[tuple[float, float, float], tuple[float, float, float]]

_MIDDLE = 0.6
"""Share of a picture's width and height that is its middle."""
_OPAQUE = 0.3
"""Opacity from which a Gaussian counts."""
_SHARE = 0.5
"""Share of the views of the most-viewed Gaussians that must view one, too, for it to count."""
_ENDS = 0.01
"""Quantile of the weight that is cut off on each side."""
_MARGIN = 0.05
"""Margin of the box, as a share of its longest side."""


@torch.no_grad()
def region(gaussians: Gaussians, cameras: Sequence[Camera]) -> Corners:
    """Low and high corner of what most cameras have in the middle of their pictures.

    A Gaussian counts if it is opaque and at least half as many cameras have it in their middle as
    have the most looked at one (the 95th percentile). Along every axis a hundredth of their weight,
    which is their opacity, may lie outside on either side; 5 % of the longest side are added.
    Gaussians and cameras are in one frame. Raises ValueError where nothing is looked at.
    """
    means = gaussians.means
    views = torch.zeros(len(means), device=means.device)
    for camera in cameras:
        views += _in_the_middle(means, camera)
    opaque = (gaussians.opacities >= _OPAQUE) & (views > 0) & means.isfinite().all(1)
    if not opaque.any():
        raise ValueError(
            "no opaque Gaussian lies in the middle of a picture; say with --box where the mesh is"
            " wanted"
        )
    rank = views[opaque].sort().values
    most = rank[int(0.95 * (len(rank) - 1))]
    chosen = opaque & (views >= _SHARE * most)
    ends = [_ends(axis, gaussians.opacities[chosen]) for axis in means[chosen].unbind(1)]
    low, high = torch.tensor(ends, dtype=torch.float64).unbind(1)
    grown = _MARGIN * float((high - low).max().clamp_min(1e-6))
    x, y, z = (low - grown).tolist()
    u, v, w = (high + grown).tolist()
    return (x, y, z), (u, v, w)


def _in_the_middle(means: Float[Tensor, "n 3"], camera: Camera) -> Float[Tensor, "n"]:
    """1 for points in the middle of a picture, 0 for the others."""
    pose, K = camera.world_to_camera, camera.K
    x, y, z = (means @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    u, v = K[0, 0] * x + K[0, 2] * z, K[1, 1] * y + K[1, 2] * z
    a, b = (1 - _MIDDLE) / 2, (1 + _MIDDLE) / 2
    across = (u >= a * camera.width * z) & (u <= b * camera.width * z)
    along = (v >= a * camera.height * z) & (v <= b * camera.height * z)
    inside: Tensor = across & along & (z > 0)
    return inside.to(means)


def _ends(values: Float[Tensor, "n"], weights: Float[Tensor, "n"]) -> tuple[float, float]:
    """Weighted percentiles at either end."""
    order = values.argsort(stable=True)
    share = weights[order].double().cumsum(0)
    at = share.new_tensor([_ENDS, 1 - _ENDS]) * share[-1]
    low, high = values[order][torch.searchsorted(share, at).clamp_max(len(order) - 1)].tolist()
    return low, high
