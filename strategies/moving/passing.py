"""What passes before rows that stand still: their errors are large at one time, and small else."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.maps import EdgedError, Error
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.types import PixelMap

WORST = "worst_and_when"
"""Statistic, float64: the largest error of a row, in whole `UNIT`s, and behind the point when that
was. One number, so that the largest over several processes brings its time along."""
SUM, SHOWN = "error_sum", "error_steps"
"""Statistics: errors of a row, summed, and steps in which it was shown."""
WINDOW = (WORST, SUM, SHOWN)
"""Statistics to clear once they were read."""
UNIT = 2.0**-16
"""Of errors, in pixels."""
BEHIND = 0.999
"""What the time 1 is written as."""
RATIO = 4.0
"""Worst error of a row over its mean, from which it is of one time. (On the built-in clip, 24,000
rows and 12,000 steps: what moves 0.6 dB better than without.)"""
LEAST_SHOWN = 5
"""Steps in which a row must have been shown."""


def error_of(method: Strategy) -> PixelMap | None:
    """The error by which the method's rows grow; None: they grow by something else."""
    return next(
        (each for each in method.needs.weights if isinstance(each, Error | EdgedError)), None
    )


def track(cloud: Cloud) -> None:
    """Declare the statistics."""
    cloud.track(WORST, dtype=torch.float64, combine="max")
    cloud.track(SUM, combine="sum")
    cloud.track(SHOWN, combine="sum")


def observe(step: Step, error: PixelMap) -> None:
    """Count the step's errors, by a map that its picture was weighted with."""
    cloud, rendered = step.model.cloud, step.rendered
    found = rendered.weighted(error) * step.batch.shrink**2
    worst = cloud.statistic(WORST)
    now = (found.double() / UNIT).floor_() + BEHIND * step.batch.camera.time
    torch.maximum(worst, now.where(found > 0, 0), out=worst)
    cloud.statistic(SUM).add_(found)
    cloud.statistic(SHOWN).add_(rendered.visible.float())


def passing(cloud: Cloud) -> tuple[Bool[Tensor, "n"], Float[Tensor, "n"]]:
    """Rows whose error is of one time, and when that was, 0 to 1 of the clip."""
    worst, shown = cloud.statistic(WORST), cloud.statistic(SHOWN)
    mean = cloud.statistic(SUM) / shown.clamp_min(1)
    largest = (worst.floor() * UNIT).to(mean)
    when = (worst.frac() / BEHIND).to(mean)
    return (shown >= LEAST_SHOWN) & (largest > 0) & (largest >= RATIO * mean), when
