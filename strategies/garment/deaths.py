"""Which rows of a garment go: those in the body, beyond the masks, never seen, or alone; none for
hanging far from the body."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.step import Step
from splat.rules.outlines import Beyond, Outlined
from splat.rules.window import add, rows_of

SHOWN, OUTSIDE, VIEWED = "garment_shown", "garment_outside", "garment_viewed"
"""Statistics of the window: blending weight in photos with a mask, of it what lies outside of the
mask, and photos that show the row."""
WINDOW = (SHOWN, OUTSIDE, VIEWED)
AGE = "garment_age"
"""Statistic: steps since a row was born."""
LEAST_SHOWN = 0.5
"""Least blending weight in a photo for it to count as one that shows a row, pixels at full size."""
NEIGHBOURS = 3
"""Others whose mean distance says how far a row is from its like."""
_AT_THE_WALL = 0.99
"""Share of the depth allowed from which a row is one that is held back from going deeper."""


def track(cloud: Cloud) -> None:
    """Declare the statistics."""
    for name in WINDOW:
        cloud.track(name, combine="sum")
    cloud.track(AGE, combine="same")


def observe(step: Step, margin: int | None) -> None:
    """Accumulate what the step's picture shows within and outside of the photo's mask, grown by so
    many pixels; None: nothing goes by masks."""
    cloud, rows = step.model.cloud, rows_of(step)
    cloud.statistic(AGE).add_(1)
    if step.batch.outline is None or margin is None:
        return
    area = step.batch.shrink**2  # of a smaller picture a pixel stands for several
    shown = step.rendered.weighted(Outlined()) * area
    add(cloud.statistic(SHOWN), rows, shown)
    add(cloud.statistic(OUTSIDE), rows, step.rendered.weighted(Beyond(margin)) * area)
    add(cloud.statistic(VIEWED), rows, (shown >= LEAST_SHOWN).float())


def outside(cloud: Cloud, share: float, views: int) -> Bool[Tensor, "n"]:
    """Rows of which more than a share of what photos show lies outside of masks."""
    shown, beyond, viewed = map(cloud.statistic, WINDOW)
    return (viewed >= views) & (beyond > share * shown)


def unseen(cloud: Cloud, window: int, photos: int) -> Bool[Tensor, "n"]:
    """Rows that no photo of a window shows, which they were there for all of; none where it has
    fewer steps than there are photos.

    What is hidden by what is worn over it, as between a skirt and the legs, has no colour that
    anything says, and would be seen in another pose.
    """
    shown = cloud.statistic(SHOWN)
    old = cloud.statistic(AGE) >= window
    return old & (shown < LEAST_SHOWN) & shown.any() & (window >= photos)


def inside(distance: Float[Tensor, "n"], deepest: float) -> Bool[Tensor, "n"]:
    """Rows that lie as deep in the body as they may, where they are held back."""
    return distance < -_AT_THE_WALL * deepest


def alone(means: Float[Tensor, "n 3"], times: float) -> Bool[Tensor, "n"]:
    """Which of these are farther from their nearest others than so many times the median is."""
    if len(means) <= NEIGHBOURS or not times:
        return torch.zeros(len(means), dtype=torch.bool, device=means.device)
    places = means.detach().double().cpu().numpy()
    distances, _ = cKDTree(places).query(places, k=NEIGHBOURS + 1)
    mean = torch.from_numpy(distances[:, 1:].mean(1))
    return (mean > times * mean.median()).to(means.device)
