"""Pruning, opacity reset and opacity decay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import Drop, Edit, Nudge, Overwrite
from splat.math import logit_of

FAINTEST = 1e-6
"""Least opacity that decay leaves."""


def faint(cloud: Cloud, opacity: float) -> Bool[Tensor, "n"]:
    """Which rows are below an opacity."""
    return cloud["opacity_logit"].detach() < logit_of(opacity)


def largest(log_scale: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Logarithm of the largest scale of each row."""
    return log_scale.detach().amax(1)


def pruning(rows: int, gone: Mapping[str, Bool[Tensor, "m"]], grown: Edit) -> Edit:
    """Pruning: drops of the rows that are gone, by reason; none where no row would be left.

    `rows` counts those that `grown` appends too. A cloud without rows could never grow again.
    """
    drops = tuple(Drop(mask.nonzero().squeeze(1), reason) for reason, mask in gone.items())
    everything = torch.cat([drop.rows for drop in (*grown.drop, *drops)])
    return Edit(drop=drops) if len(torch.unique(everything)) < rows else Edit()


def opacity_reset(cloud: Cloud, edit: Edit, opacity: float) -> Edit:
    """Opacity reset: the edit, with opacity of old, changed and newborn rows clamped (3DGS)."""
    limit = logit_of(opacity)

    def clamped(rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if "opacity_logit" not in rows:
            return rows
        return {**rows, "opacity_logit": rows["opacity_logit"].clamp_max(limit)}

    values = cloud["opacity_logit"].detach().clamp_max(limit)
    return replace(
        edit,
        overwrite=(*edit.overwrite, Overwrite("opacity_logit", values, "reset")),
        assign=tuple(replace(a, rows=clamped(a.rows)) for a in edit.assign),
        append=tuple(replace(a, rows=clamped(a.rows)) for a in edit.append),
    )


def opacity_decay(cloud: Cloud, opacity: float, scale: float = 0.0) -> Edit:
    """Opacity decay: every row loses `opacity`, and the share `scale` of its scales."""
    nudges = []
    if opacity > 0:
        old = cloud["opacity_logit"].detach().double()
        # 1 - o is sigmoid(-logit): exact however opaque a row is.
        solid = (old.sigmoid() - opacity).clamp_min(FAINTEST)
        new = solid.log() - (old.neg().sigmoid() + opacity).clamp_max(1 - FAINTEST).log()
        delta = torch.minimum(new - old, torch.zeros_like(old))
        nudges.append(Nudge("opacity_logit", delta.to(cloud["opacity_logit"].dtype)))
    if scale > 0:
        same = torch.full_like(cloud["log_scale"].detach(), math.log1p(-scale))
        nudges.append(Nudge("log_scale", same))
    return Edit(nudge=tuple(nudges))
