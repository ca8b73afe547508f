"""Harmonics quantised with error compensation over the views that see them.

A file keeps each coefficient to a few bits. Rounded one by one, their errors add up in every
direction of view; but a Gaussian is seen from some directions only, and there the error of one
coefficient can be undone by those that are still to be rounded. So they are rounded one after the
other, and what each one's rounding changes in the colours that the views see is taken over, as well
as it can be, by the rest: the least-squares compensation of Optimal Brain Surgeon (Hassibi & Stork
1993) and GPTQ (Frantar et al. 2022), here with a Gaussian's own views, weighted by its blending
weight in them, as the inputs. The constant coefficient, which files keep best, comes last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from splat.export.view_weights import ViewWeights, harmonics_gram
from splat.types import Gaussians

Grid = Callable[[Float[Tensor, "n 3"], int], Float[Tensor, "n 3"]]
"""Values of one coefficient, and its number from 0, to what a file makes of them."""

_CHUNK = 1 << 14
_RIDGE = 1e-3
"""Weight of directions that no view sees, as a share of those that views see."""


@torch.no_grad()
def rounded_harmonics(gaussians: Gaussians, weights: ViewWeights, grid: Grid) -> Gaussians:
    """The set with its harmonics, except the constant ones, on a format's grid.

    A row that no view sees is rounded as it is.
    """
    degree = gaussians.sh_degree
    if not degree:
        return gaussians
    k = (degree + 1) ** 2
    colors = gaussians.colors[:, :k].clone()
    for start in range(0, len(gaussians), _CHUNK):
        part = slice(start, start + _CHUNK)
        # What a change of two coefficients does together, in double: few views leave it singular.
        gram = harmonics_gram(gaussians.means[part], weights, part, degree).double()
        gram += _RIDGE * torch.eye(k, dtype=torch.float64, device=gram.device)
        colors[part] = _one_by_one(colors[part], gram, grid)
    return replace(gaussians, colors=colors)


@torch.no_grad()
def compensated_constants(
    gaussians: Gaussians, weights: ViewWeights, drawn: Float[Tensor, "n k 3"]
) -> Gaussians:
    """The set with constant coefficients that compensate for what a file loses of the others.

    `drawn` are the coefficients that are read back; the constant ones take over what the views see
    of the difference on the average. For files whose harmonics are not rounded one by one.
    """
    k = drawn.shape[1]
    colors = gaussians.colors.clone()
    for start in range(0, len(gaussians), _CHUNK):
        part = slice(start, start + _CHUNK)
        gram = harmonics_gram(gaussians.means[part], weights, part, gaussians.sh_degree or 0)
        lost = colors[part, 1:k] - drawn[part, 1:]
        weight = gram[:, 0, 0, None] + _RIDGE
        colors[part, 0] += torch.einsum("nj,njc->nc", gram[:, 0, 1:k], lost) / weight
    return replace(gaussians, colors=colors)


def _one_by_one(
    colors: Float[Tensor, "n k 3"], gram: Float[Tensor, "n k k"], grid: Grid
) -> Float[Tensor, "n k 3"]:
    k = colors.shape[1]
    backwards = torch.arange(k - 1, -1, -1, device=colors.device)
    inverse = torch.linalg.inv(gram[:, backwards][:, :, backwards])
    factor = torch.linalg.cholesky(inverse, upper=True).to(colors)
    left = colors[:, backwards]
    for j in range(k - 1):
        value = grid(left[:, j], k - 1 - j)
        error = (left[:, j] - value) / factor[:, j, j, None]
        left[:, j] = value
        left[:, j + 1 :] -= factor[:, j, j + 1 :, None] * error[:, None]
    return left[:, backwards]
