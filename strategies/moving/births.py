"""Births in time: a row that is pulled both ways becomes two, one earlier and one later."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import SPLIT, Append, Edit

APART = 0.5
"""How far the two are from the time of the row they replace, in its durations."""
SHORTER = math.log(2) / 2
"""What their log durations lose: variances in time, with the distance between them, stay alike."""
DIMMED = 0.65
"""Opacity of each over that of the row: together they are about as opaque at its time."""


def split_in_time(edit: Edit, cloud: Cloud, chosen: Bool[Tensor, "n"]) -> Edit:
    """The edit, with splits of the chosen rows made in time and not in space."""
    return replace(edit, append=tuple(_in_time(each, cloud, chosen) for each in edit.append))


def _in_time(append: Append, cloud: Cloud, chosen: Bool[Tensor, "n"]) -> Append:
    parents = append.parents
    if append.reason != SPLIT or not len(parents):
        return append
    which = _order_among_twins(parents)
    rows = ((parents >= 0) & chosen[parents.clamp_min(0)]).nonzero().squeeze(1)
    if not len(rows):
        return append
    whole = cloud.rows(parents[rows])
    away = (2 * which[rows] - 1) * APART * whole["log_duration"].exp()
    opacity = whole["opacity_logit"].sigmoid() * DIMMED
    whole |= {
        "time": whole["time"] + away,
        "mean": whole["mean"] + whole["velocity"] * away[:, None],
        "log_duration": whole["log_duration"] - SHORTER,
        "opacity_logit": opacity.clamp(1e-6, 1 - 1e-6).logit(),
    }
    changed = {}
    for name, values in append.rows.items():
        values = values.clone()
        values[rows] = whole[name].to(values)
        changed[name] = values
    return replace(append, rows=changed)


def _order_among_twins(parents: Int[Tensor, "a"]) -> Float[Tensor, "a"]:
    """0 for the first child of each parent, 1 for the others."""
    order = parents.argsort(stable=True)
    ordered = parents[order]
    again = torch.zeros_like(parents, dtype=torch.float32)
    again[order[1:]] = (ordered[1:] == ordered[:-1]).float()
    return again
