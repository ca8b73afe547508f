"""Blending weights of Gaussians in views, their significance, and harmonics fitted to the views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.core.score import scores, significance
from splat.kernels.harmonics import basis
from splat.math import rgb_from_sh, sh_from_rgb
from splat.types import Batch, Gaussians, Renderer, Surveyed

_CHUNK = 1 << 14
_PRIOR = 1e-3
"""Weight of the ridge towards the coefficients as they were, as a share of a row's weight in all
views."""


@dataclass(frozen=True)
class ViewWeights:
    """What n rows weigh in v views."""

    centres: Float[Tensor, "v 3"]
    """Centres of the cameras, in the frame of the rows."""
    masses: Float[Tensor, "v n"]
    """Blending weight of each row in each view, summed over its pixels."""
    score: Float[Tensor, "n"]
    """Significance: squared derivatives of the pictures (Speedy-Splat, Hanson et al. 2025)."""

    def take(self, rows: Tensor) -> ViewWeights:
        """The weights of some of the rows."""
        return ViewWeights(self.centres, self.masses[:, rows], self.score[rows])

    @cached_property
    def seen(self) -> Float[Tensor, "n"]:
        """How much of each row the views see together."""
        return self.masses.sum(0)

    def most_significant(self, count: int) -> Int[Tensor, "m"]:
        """The rows of the highest score, in their own order; of equal ones the last."""
        return self._order[len(self._order) - count :].sort().values

    @cached_property
    def _order(self) -> Int[Tensor, "n"]:
        return self.score.argsort(stable=True)


@torch.no_grad()
def view_weights(
    gaussians: Gaussians,
    render: Renderer,
    batches: Iterable[Batch],
    background: Float[Tensor, "3"] | None,
) -> ViewWeights:
    """Survey a set from the cameras of `batches`; all in one frame."""
    centres, masses = [], []

    def looked() -> Iterable[Surveyed]:
        for batch in batches:
            rendered, rows = render.survey(gaussians, batch.camera, background)
            centres.append(batch.camera.centre)
            masses.append(rows.mass.float())
            yield Surveyed(batch, rendered, rows)

    total = scores(looked())
    score = significance("squared", total, gaussians.opacities, gaussians.scales)
    return ViewWeights(torch.stack(centres), torch.stack(masses), score)


def with_fewer_bands(gaussians: Gaussians, degree: int, weights: ViewWeights) -> Gaussians:
    """The set with harmonics up to `degree`, refitted to stand for the bands cut off.

    Cutting bands off leaves the colour that a Gaussian would have on the average over all
    directions; the views see it from some. So the coefficients that stay are fitted, row by row and
    by least squares over the views it is seen in, weighted by its blending weight there, to the
    colours of all. The constant one stays a colour of bytes, within 0 and 1, as programs that know
    few bands keep it; where it would leave that, the others are fitted given the bound.
    """
    return fewer_bands(gaussians, [degree], weights)[0]


@torch.no_grad()
def fewer_bands(
    gaussians: Gaussians, degrees: Sequence[int], weights: ViewWeights
) -> list[Gaussians]:
    """The set `with_fewer_bands` of each degree: what the views see of it is worked out once."""
    whole = gaussians.sh_degree or 0
    fewer = {
        degree: gaussians.colors[:, : (degree + 1) ** 2].clone()
        for degree in degrees
        if degree < whole
    }
    for start in range(0, len(gaussians) if fewer else 0, _CHUNK):
        part = slice(start, start + _CHUNK)
        normal = harmonics_gram(gaussians.means[part], weights, part, whole)
        for degree, stay in fewer.items():
            k = (degree + 1) ** 2
            go = gaussians.colors[part, k : (whole + 1) ** 2]
            ridge = _PRIOR * torch.eye(k, dtype=normal.dtype, device=normal.device)
            right = torch.einsum("nkj,njc->nkc", normal[:, :k, k:], go)
            kept = normal[:, :k, :k] + ridge
            stay[part] += torch.linalg.solve(kept, right)
            _hold_constant(stay[part], kept)
    return [
        replace(gaussians, colors=fewer[degree], sh_degree=degree) if degree in fewer else gaussians
        for degree in degrees
    ]


def _hold_constant(fitted: Float[Tensor, "n k 3"], normal: Float[Tensor, "n k k"]) -> None:
    """Bring the least squares fit of `normal` to the best one whose constant is within 0 and 1.

    Of a convex quadratic under bounds on one unknown the best is at the bound that the free one
    passes, and the others move by -N_rr^-1 N_r0 times what that one does.
    """
    held = sh_from_rgb(rgb_from_sh(fitted[:, :1]).clamp(0, 1)) - fitted[:, :1]
    fitted[:, 1:] -= torch.linalg.solve(normal[:, 1:, 1:], normal[:, 1:, :1]) * held
    fitted[:, :1] += held


def harmonics_gram(
    means: Float[Tensor, "n 3"], weights: ViewWeights, rows: slice, degree: int
) -> Float[Tensor, "n k k"]:
    """Gram matrices of the harmonics over the directions that rows are seen in.

    Averaged over views by the rows' blending weights there; 0 where none sees a row.
    """
    direction = torch.nn.functional.normalize(means[None] - weights.centres[:, None], dim=-1)
    masses = weights.masses[:, rows]
    views, n = masses.shape
    every = basis(direction.reshape(-1, 3), degree).reshape(views, n, -1)
    share = masses / masses.sum(0).clamp_min(1e-12)
    return torch.einsum("vnk,vnl->nkl", every * share[..., None], every)
