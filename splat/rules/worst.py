"""Largest error of rows over the window between two refinements, and which rows grow by it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.step import Step
from splat.rules.curve import room
from splat.rules.select import select
from splat.rules.window import raise_to, rows_of
from splat.types import PixelMap

WORST = "worst_error"
"""Statistic: largest error x blending weight of a row in one picture of the window, pixels."""
SEEN = "seen"
"""Statistic: 1 where a row was visible in the window, else 0."""


def track(cloud: Cloud) -> None:
    """Declare both statistics."""
    cloud.track(WORST, combine="max")
    cloud.track(SEEN, combine="max")


def observe(step: Step, error: PixelMap, *, seen: bool = True) -> None:
    """Raise the worst error of rows to this step's, by a map that the picture was weighted with,
    and note which rows are `seen`."""
    cloud, rendered, rows = step.model.cloud, step.rendered, rows_of(step)
    raise_to(cloud.statistic(WORST), rows, rendered.weighted(error) * step.batch.shrink**2)
    if seen:
        raise_to(cloud.statistic(SEEN), rows, rendered.visible.float())


def parents(
    step: Step, doomed: Bool[Tensor, "n"], *, cap: int, above: float, share: float
) -> Int[Tensor, "p"]:
    """Rows that grow: as many as are doomed, in proportion to opacity, and a share of those whose
    error lies above, in proportion to it, as far as there is room."""
    cloud, shard = step.model.cloud, step.model.cloud.shard
    dead = shard.total(int(doomed.sum()))
    most = room(shard.total(len(cloud)), dead, cap)
    opacity = cloud["opacity_logit"].detach().sigmoid() * cloud.statistic(SEEN)
    generator = step.generator("replace")
    score = opacity.where(~doomed, 0)
    replaced = select(score, min(dead, most), "multinomial", generator, shard)
    error = cloud.statistic(WORST)
    candidates = (error > above) & ~doomed
    wanted = math.ceil(share * shard.total(int(candidates.sum())))
    more = min(wanted, most - shard.total(len(replaced)))
    candidates.index_fill_(0, replaced, False)
    generator = step.generator("grow")
    grown = select(error.where(candidates, 0), more, "multinomial", generator, shard)
    return torch.cat([replaced, grown]).sort().values
