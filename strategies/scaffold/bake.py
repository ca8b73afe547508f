"""Anchors as plain Gaussians: what all views have in common, fitted by least squares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from splat.kernels.harmonics import basis
from splat.math import SH_C0, covariances, quaternions, spread
from splat.types import Camera, Gaussians

MOST_VIEWS = 200
"""Views that are looked from, evenly spread."""
BLOCK = 10_000
"""Anchors that are fitted at a time, for memory."""
LEAST_OPACITY = 1 / 255
"""Mean opacity below which a Gaussian is left out: nothing fainter is drawn."""
RIDGE = 0.01
"""What holds the harmonics beyond the constant one back where views tell little of them, as a
share of the weight of all views."""

Decode = Callable[[Camera, Int[Tensor, "m"]], Gaussians]
"""What some anchors make for a camera."""


@torch.no_grad()
def baked(
    decode: Decode,
    rows_for: Callable[[Camera], Int[Tensor, "m"]],
    anchors: int,
    slots: int,
    views: Sequence[Camera],
    degree: int = 3,
) -> Gaussians:
    """One set of Gaussians for all views, with harmonics of `degree`, frame of training.

    Of each offset that is drawn somewhere: its mean opacity over the views that have the anchor in
    their frustum; its mean covariance, by the opacity in each view; and harmonics whose colours, by
    the same weights, are nearest to those of the views in the sense of least squares. `source`
    says which offset a Gaussian is. ValueError without views.
    """
    if not views:
        raise ValueError("anchors have no views to be baked for; give the cameras of training")
    chosen = [views[i] for i in spread(len(views), MOST_VIEWS)]
    parts = []
    for first in range(0, anchors, BLOCK):
        block = range(first, min(first + BLOCK, anchors))
        parts.append(_block(decode, rows_for, block, slots, chosen, degree))
    return Gaussians(
        means=torch.cat([part.means for part in parts]),
        quats=torch.cat([part.quats for part in parts]),
        scales=torch.cat([part.scales for part in parts]),
        opacities=torch.cat([part.opacities for part in parts]),
        colors=torch.cat([part.colors for part in parts]),
        sh_degree=degree,
        source=torch.cat([part.source for part in parts if part.source is not None]),
    )


def _block(
    decode: Decode,
    rows_for: Callable[[Camera], Int[Tensor, "m"]],
    block: range,
    slots: int,
    views: Sequence[Camera],
    degree: int,
) -> Gaussians:
    sums: _Sums | None = None
    for camera in views:
        rows = rows_for(camera)
        rows = rows[(rows >= block.start) & (rows < block.stop)]
        if sums is None:
            sums = _Sums(len(block), slots, (degree + 1) ** 2, rows.device)
        if len(rows):
            sums.add(decode(camera, rows), rows, camera, block.start, degree)
    assert sums is not None
    return sums.fitted(block.start, degree)


class _Sums:
    """What views say of the offsets of a block of anchors, added up."""

    def __init__(self, anchors: int, slots: int, k: int, device: torch.device) -> None:
        n = anchors * slots
        self.slots = slots
        self.visits = torch.zeros(anchors, device=device)
        self.weight = torch.zeros(n, device=device)
        self.means = torch.zeros(n, 3, device=device)
        self.covariance = torch.zeros(n, 6, device=device)
        self.upper = torch.triu_indices(k, k, device=device)
        self.normal = torch.zeros(n, len(self.upper[0]), device=device)
        self.right = torch.zeros(n, k * 3, device=device)

    def add(self, drawn: Gaussians, rows: Tensor, camera: Camera, first: int, degree: int) -> None:
        """Add what a view has."""
        assert drawn.source is not None
        slot = drawn.source - first * self.slots
        self.visits.index_add_(0, rows - first, torch.ones_like(rows, dtype=torch.float32))
        weight = drawn.opacities
        self.weight.index_add_(0, slot, weight)
        self.means.index_copy_(0, slot, drawn.means)  # the same from everywhere
        whole = covariances(drawn.quats, drawn.scales).flatten(1)[:, _SIX]
        self.covariance.index_add_(0, slot, weight[:, None] * whole)
        harmonics = basis(normalize(drawn.means - camera.centre, dim=1), degree)
        weighted = weight[:, None] * harmonics
        self.normal.index_add_(0, slot, weighted[:, self.upper[0]] * harmonics[:, self.upper[1]])
        right = weighted[:, :, None] * (drawn.colors - 0.5)[:, None]
        self.right.index_add_(0, slot, right.flatten(1))

    def fitted(self, first: int, degree: int) -> Gaussians:
        """The Gaussians that are nearest to all views."""
        k = (degree + 1) ** 2
        seen = self.visits.clamp_min(1).repeat_interleave(self.slots)
        opacity = self.weight / seen
        kept = (opacity > LEAST_OPACITY).nonzero().squeeze(1)
        weight = self.weight.index_select(0, kept)[:, None]
        normal = weight.new_zeros(len(kept), k, k)
        normal[:, self.upper[0], self.upper[1]] = self.normal.index_select(0, kept) / weight
        normal[:, self.upper[1], self.upper[0]] = normal[:, self.upper[0], self.upper[1]]
        held = torch.full((k,), RIDGE, device=weight.device)
        held[0] = 1e-6 * SH_C0**2
        right = (self.right.index_select(0, kept) / weight).view(-1, k, 3)
        colors = torch.linalg.solve(normal + held.diag(), right)
        six = self.covariance.index_select(0, kept) / weight
        scales, quats = _axes(six)
        return Gaussians(
            means=self.means.index_select(0, kept),
            quats=quats,
            scales=scales,
            opacities=opacity.index_select(0, kept).clamp_max(1 - 1e-6),
            colors=colors,
            sh_degree=degree,
            source=kept + first * self.slots,
        )


_SIX = [0, 1, 2, 4, 5, 8]
"""Entries of a symmetric matrix, of its nine."""
_NINE = [0, 1, 2, 1, 3, 4, 2, 4, 5]
"""And back."""


def _axes(six: Float[Tensor, "n 6"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"]]:
    """Scales and rotation of covariances."""
    values, vectors = torch.linalg.eigh(six[:, _NINE].view(-1, 3, 3).double())
    # A reflection is no rotation: turn one axis round.
    vectors[:, :, 0] *= torch.linalg.det(vectors).sign()[:, None]
    scales = values.clamp_min(1e-16).sqrt()
    return scales.float(), quaternions(vectors).float()
