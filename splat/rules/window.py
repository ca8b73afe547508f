"""Screen-space gradient of rows, accumulated over the window between two refinements."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.step import Step
from splat.types import Rendered

SCREEN_GRADIENT = "screen_gradient"
"""Statistic: length of the screen gradient, summed over the steps a row was visible in."""
VIEWS = "views"
"""Statistic: steps a row was visible in."""
WINDOW = (SCREEN_GRADIENT, VIEWS)
"""Statistics to clear once a refinement has read them."""


def track(cloud: Cloud) -> None:
    """Declare the statistics of the window."""
    for name in WINDOW:
        cloud.track(name, combine="sum")


def rows_of(step: Step, rendered: Rendered | None = None) -> Int[Tensor, "n"] | None:
    """The row of each Gaussian of the step's picture, or of another; None: one a row, in order."""
    source = (rendered or step.rendered).gaussians.source
    slots = step.model.slots
    return source if source is None or slots == 1 else source // slots


def add(statistic: Float[Tensor, "n"], rows: Tensor | None, values: Float[Tensor, "m"]) -> None:
    """Add values of Gaussians to the rows they are of (None: one a row, in order)."""
    if rows is None:
        statistic.add_(values)
    else:
        statistic.index_add_(0, rows, values)


def raise_to(
    statistic: Float[Tensor, "n"], rows: Tensor | None, values: Float[Tensor, "m"]
) -> None:
    """Raise the statistic to the largest value of the Gaussians of each row."""
    if rows is None:
        torch.maximum(statistic, values, out=statistic)
    else:
        statistic.scatter_reduce_(0, rows, values, "amax")


def observe(step: Step, absolute: bool = False) -> None:
    """Accumulate this step's screen-space gradient; `absolute` as in `Rendered.screen_gradient`."""
    cloud, rendered, rows = step.model.cloud, step.rendered, rows_of(step)
    visible = rendered.visible.float()
    # A third of the time of a norm over the axis of two.
    x, y = rendered.screen_gradient(absolute).unbind(1)
    length = x.square().addcmul_(y, y).sqrt_().mul_(visible)
    add(cloud.statistic(SCREEN_GRADIENT), rows, length)
    add(cloud.statistic(VIEWS), rows, visible)


def mean_screen_gradient(cloud: Cloud) -> Float[Tensor, "n"]:
    """Mean screen-space gradient over the window's steps that show a row, in half pictures."""
    return cloud.statistic(SCREEN_GRADIENT) / cloud.statistic(VIEWS).clamp_min(1)
