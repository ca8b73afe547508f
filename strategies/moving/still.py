"""Rows that are found to stand still while a run goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from splat.core.edit import Rows
from splat.kernels import NEAR
from splat.math import ALWAYS
from splat.rules.sampling import sampling_rates
from splat.strategies.moving.model import Timed
from splat.strategies.moving.start import STILL_TIME
from splat.types import Camera

PIXELS = 0.5
"""Way over the clip, in pixels of the camera that sees it best, below which a row stands still."""
STEADY = 0.95
"""Least share of its opacity that what stands still has at every instant."""


@torch.no_grad()
def stilled(model: Timed, views: Sequence[Camera]) -> tuple[Int[Tensor, "m"], Rows]:
    """Rows that stand still without being told apart yet, and the values that say so: where they
    are at the middle of the clip, always (after 3D-4DGS, Oh et al. 2025)."""
    cloud, durations = model.cloud, model.durations
    time, velocity, mean = (cloud[name].detach() for name in ("time", "velocity", "mean"))
    far = torch.maximum(time.abs(), (1 - time).abs())
    steady = (-0.5 * (far / durations).square()).exp() >= STEADY
    free = (steady & ~model.lasting).nonzero().squeeze(1)
    rates = sampling_rates(mean[free], views, NEAR * model.frame.scale)
    index = free[velocity[free].norm(dim=1) * rates < PIXELS]
    away = (STILL_TIME - time[index])[:, None] * velocity[index]
    return index, {
        "mean": mean[index] + away,
        "time": torch.full_like(time[index], STILL_TIME),
        "log_duration": torch.full_like(time[index], math.log(ALWAYS)),
        "velocity": torch.zeros_like(velocity[index]),
    }
