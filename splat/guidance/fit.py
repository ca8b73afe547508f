"""A line through points some of which are wrong: the least sum of absolute residuals."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDS = 40
"""Rounds of reweighting."""
LEAST_SPREAD = 1e-6
"""Spread of x, in units of its size, below which no slope is known."""
_SHRINK, _FLOOR = 0.6, 1e-9
"""Residual below which points weigh alike, in units of the spread of y: its factor from round to
round, and its floor."""


def fitted_line(
    x: Float[Tensor, "n"], y: Float[Tensor, "n"], weight: Float[Tensor, "n"] | None = None
) -> tuple[float, float] | None:
    """(slope, offset) of y = slope x + offset with the least sum of weight |residual|; float64.

    By iteratively reweighted least squares from the plain ones, each round two equations: the same
    to the bit for the same numbers in the same order. None where x has no spread or there are fewer
    than two points.
    """
    if len(x) < 2:
        return None
    x, y = x.detach().double(), y.detach().double()
    base = torch.ones_like(x) if weight is None else weight.detach().double()
    if not float(base.sum()) > 0:
        return None
    # About the middle, in units of the spread: the equations are then well conditioned.
    middle, spread = _moments(x, base)
    level, height = _moments(y, base)
    if not spread > LEAST_SPREAD * max(abs(middle), 1e-300):
        return None
    height = max(height, 1e-300)
    u, v = (x - middle) / spread, (y - level) / height
    weights, small = base, 1e-2
    slope = offset = 0.0
    for _ in range(ROUNDS):
        line = _solved(u, v, weights)
        if line is None:
            return None
        slope, offset = line
        weights = base / (v - slope * u - offset).abs().clamp_min(small)
        small = max(_SHRINK * small, _FLOOR)
    slope *= height / spread
    return slope, level + height * offset - slope * middle


def _moments(values: Float[Tensor, "n"], weight: Float[Tensor, "n"]) -> tuple[float, float]:
    """Weighted mean and standard deviation."""
    total = weight.sum()
    mean = (weight * values).sum() / total
    return float(mean), float(((weight * (values - mean) ** 2).sum() / total).sqrt())


def _solved(
    u: Float[Tensor, "n"], v: Float[Tensor, "n"], weights: Float[Tensor, "n"]
) -> tuple[float, float] | None:
    """Slope and offset by weighted least squares; None where u has no spread."""
    total = weights.sum()
    mean_u, mean_v = (weights * u).sum() / total, (weights * v).sum() / total
    du = weights * (u - mean_u)
    square = float((du * (u - mean_u)).sum())
    if not square > 0:
        return None
    slope = float((du * (v - mean_v)).sum()) / square
    return slope, float(mean_v) - slope * float(mean_u)
