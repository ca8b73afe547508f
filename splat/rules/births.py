"""Clone and split: how children are made of their parents, with three kinds of split.

Every function takes unique rows and gives an `Edit` that adds one row for each. What a child
starts with is published per method; second moments below are of the two children about their
parent's mean, in units of the parent's own.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from splat.core.cloud import Cloud
from splat.core.edit import Append, Assign, Drop, Edit
from splat.rules.relocation import copies_logit, rotated

SPLIT_SHRINK = 1.6
"""Scales of a parent over those of its children (Kerbl et al. 2023, section 5.2)."""
LONG_REACH = 3.0
"""Scales from the mean to where a Gaussian ends, for `long_axis_split`."""
LONG_SHIFT = 0.45
"""Distance of the children of `long_axis_split` from their parent, in such reaches."""
LONG_OPACITY = 0.6
"""Opacity of each of these children over that of their parent."""
MOMENT_SHRINK = 1 - math.sqrt(0.5)
"""Share that the longest scale loses in `moment_split`: children are 1/sqrt(2) as long."""


def cloned(cloud: Cloud, parents: Int[Tensor, "c"], revised: bool = False) -> Edit:
    """Clone: a second row in the place of the first. (3DGS' paper moves it; its code does not.)

    With `revised`, both get the opacity with which they compose to what one was.
    """
    rows = cloud.rows(parents)
    if not revised:
        return Edit(append=(Append(rows, parents, "clone"),))
    logit = rows["opacity_logit"]
    half = {"opacity_logit": copies_logit(logit, 2).to(logit.dtype)}
    return Edit(
        assign=(Assign(parents, half, "clone", moments="keep"),),
        append=(Append({**rows, **half}, parents, "clone"),),
    )


def split(
    cloud: Cloud, parents: Int[Tensor, "s"], generator: torch.Generator, revised: bool = False
) -> Edit:
    """Split: two rows, drawn from the Gaussian that they replace, 1.6 times smaller (3DGS).

    Second moments are 1.39 in the mean of all draws. With `revised`, the children would, in one
    place, compose to their parent's opacity.
    """
    twice = parents.repeat(2)
    rows = cloud.rows(twice)
    draw = torch.randn(len(twice), 3, generator=generator, device=cloud.device)
    rows["mean"] += rotated(rows["quat"], draw * rows["log_scale"].exp())
    rows["log_scale"] -= math.log(SPLIT_SHRINK)
    if revised:
        logit = rows["opacity_logit"]
        rows["opacity_logit"] = copies_logit(logit, 2).to(logit.dtype)
    return _replaced(rows, twice)


def cloned_or_split(
    cloud: Cloud,
    grows: Bool[Tensor, "n"],
    large: Bool[Tensor, "n"],
    generator: torch.Generator,
    revised_clone: bool = False,
    revised_split: bool = False,
) -> Edit:
    """Clones of the rows that grow, splits of those that are large (3DGS)."""
    small_rows = (grows & ~large).nonzero().squeeze(1)
    large_rows = (grows & large).nonzero().squeeze(1)
    return cloned(cloud, small_rows, revised_clone) + split(
        cloud, large_rows, generator, revised_split
    )


def long_axis_split(cloud: Cloud, parents: Int[Tensor, "s"]) -> Edit:
    """Long-axis split: two rows side by side along the longest axis (Improved-GS, 2025).

    They share the parent's ellipsoid of three scales: each stands at 0.45 of its half axis, ends
    where it ends (long scale x 0.55) and is as thick as it is there (x sqrt(1 - 0.45^2)). Second
    moments are 2.125 along the axis and 0.798 across.
    """
    log_scale = cloud["log_scale"].detach()[parents]
    longest = one_hot(log_scale.argmax(1), 3).bool()
    across = math.log1p(-(LONG_SHIFT**2)) / 2
    narrower = torch.full_like(log_scale, across).masked_fill(longest, math.log1p(-LONG_SHIFT))
    offset = (LONG_REACH * LONG_SHIFT * log_scale.exp()).where(longest, 0)
    logit = cloud["opacity_logit"].detach()[parents].double()
    # log(0.6 a / (1 - 0.6 a)), with log a = -softplus(-logit).
    log_opacity = math.log(LONG_OPACITY) - torch.nn.functional.softplus(-logit)
    fainter = log_opacity - torch.log(-torch.expm1(log_opacity))
    return _pair(cloud, parents, offset, narrower, fainter)


def moment_split(
    cloud: Cloud, parents: Int[Tensor, "s"], generator: torch.Generator | None = None
) -> Edit:
    """Split into two rows that keep the second moment of their parent along each axis (Brush).

    An axis r times as long as the longest shrinks to k = 1 - r^2 (1 - 1/sqrt(2)) of itself and
    the children move by sqrt(1 - k^2) of it, so that k^2 + (1 - k^2) = 1. Opacity becomes
    1 - (1 - a)^(1/sqrt(2)): the children stand apart, and keep more than two in one place would.
    They lie on one diagonal of the parent's box, always the same, or with a generator on any.
    """
    log_scale = cloud["log_scale"].detach()[parents]
    ratio = (log_scale - log_scale.amax(1, keepdim=True)).exp()
    keep = 1 - MOMENT_SHRINK * ratio.square()
    offset = (1 - keep.square()).sqrt() * log_scale.exp()
    if generator is not None:
        side = torch.rand(offset.shape, generator=generator, device=offset.device) < 0.5
        offset = offset.where(side, -offset)
    fainter = copies_logit(cloud["opacity_logit"].detach()[parents], math.sqrt(2))
    return _pair(cloud, parents, offset, keep.log(), fainter)


def _pair(
    cloud: Cloud,
    parents: Int[Tensor, "s"],
    offset: Float[Tensor, "s 3"],
    narrower: Float[Tensor, "s 3"],
    opacity_logit: Float[Tensor, "s"],
) -> Edit:
    """Two rows at plus and minus an offset in the frame of their parent."""
    twice = parents.repeat(2)
    rows = cloud.rows(twice)
    rows["mean"] += rotated(rows["quat"], torch.cat([offset, -offset]))
    rows["log_scale"] += narrower.repeat(2, 1)
    rows["opacity_logit"] = opacity_logit.to(rows["opacity_logit"].dtype).repeat(2)
    return _replaced(rows, twice)


def _replaced(rows: dict[str, Tensor], twice: Int[Tensor, "2*s"]) -> Edit:
    parents = twice[: len(twice) // 2]
    return Edit(append=(Append(rows, twice, "split"),), drop=(Drop(parents, "split"),))
