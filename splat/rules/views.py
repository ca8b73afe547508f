"""A choice of training views to score, where all of them would cost too much."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from splat.math import spread_over
from splat.types import Camera

VIEWS_SHARE = 20
"""One view is scored per so many steps: at a step's cost each, a 20th of the time in all."""


def even_views(views: Sequence[Camera], count: int) -> list[int]:
    """`count` of the views, evenly spread over their order, and over instants where there are
    several (`splat.math.spread_over`); 0, or more than there are: all."""
    return spread_over([camera.time for camera in views], count if count > 0 else len(views))


def random_views(views: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` of the views by chance; 0, or more than there are: all."""
    count = min(count, views) if count > 0 else views
    order = torch.randperm(views, generator=generator, device=generator.device)
    indices: list[int] = order[:count].sort().values.tolist()
    return indices
