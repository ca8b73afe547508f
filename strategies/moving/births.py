"""Births in time: a row that is pulled both ways becomes two, one earlier and one later; one that
stands still stays, and has another beside it for a moment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import SPLIT, Append, Edit, Rows

APART = 0.5
"""How far the two are from the time of the row they replace, in its durations."""
SHORTER = math.log(2) / 2
"""What their log durations lose: variances in time, with the distance between them, stay alike."""
DIMMED = 0.65
"""Opacity of each over that of the row: together they are about as opaque at its time."""
MOMENT = 0.06
"""Duration, in clips, of what is born beside a row that stands still."""
FAINT = 0.5
"""Its opacity over that of the row."""


def split_in_time(edit: Edit, cloud: Cloud, chosen: Bool[Tensor, "n"]) -> Edit:
    """The edit, with splits of the chosen rows made in time and not in space."""

    def children(parents: Int[Tensor, "a"], which: Float[Tensor, "a"]) -> dict[str, Tensor]:
        whole = cloud.rows(parents)
        away = (2 * which - 1) * APART * whole["log_duration"].exp()
        return whole | {
            "time": whole["time"] + away,
            "mean": whole["mean"] + whole["velocity"] * away[:, None],
            "log_duration": whole["log_duration"] - SHORTER,
            "opacity_logit": _dimmed(whole["opacity_logit"], DIMMED),
        }

    return _with_children(edit, chosen, children)


def born_for_a_moment(
    edit: Edit, cloud: Cloud, chosen: Bool[Tensor, "n"], when: Float[Tensor, "n"]
) -> Edit:
    """The edit, with splits of the chosen rows, which stand still, made into the row as it is and
    one like it that is there for a moment only, about the time `when` of the row."""

    def children(parents: Int[Tensor, "a"], which: Float[Tensor, "a"]) -> dict[str, Tensor]:
        whole, second = cloud.rows(parents), which > 0
        opacity = _dimmed(whole["opacity_logit"], FAINT)
        return whole | {
            "time": whole["time"].where(~second, when[parents]),
            "log_duration": whole["log_duration"].masked_fill(second, math.log(MOMENT)),
            "opacity_logit": whole["opacity_logit"].where(~second, opacity),
        }

    return _with_children(edit, chosen, children)


def _with_children(
    edit: Edit,
    chosen: Bool[Tensor, "n"],
    children: Callable[[Int[Tensor, "a"], Float[Tensor, "a"]], Rows],
) -> Edit:
    """The edit, with other children of the chosen rows that are split: columns by their parents and
    by whether each is the first (0) or the second (1) of its parent."""

    def changed(append: Append) -> Append:
        parents = append.parents
        if append.reason != SPLIT or not len(parents):
            return append
        rows = ((parents >= 0) & chosen[parents.clamp_min(0)]).nonzero().squeeze(1)
        if not len(rows):
            return append
        made = children(parents[rows], _order_among_twins(parents)[rows])
        columns = {}
        for name, values in append.rows.items():
            columns[name] = values.clone()
            columns[name][rows] = made[name].to(values)
        return replace(append, rows=columns)

    return replace(edit, append=tuple(changed(each) for each in edit.append))


def _dimmed(logit: Float[Tensor, "a"], share: float) -> Float[Tensor, "a"]:
    return (logit.sigmoid() * share).clamp(1e-6, 1 - 1e-6).logit()


def _order_among_twins(parents: Int[Tensor, "a"]) -> Float[Tensor, "a"]:
    """0 for the first child of each parent, 1 for the others."""
    order = parents.argsort(stable=True)
    ordered = parents[order]
    again = torch.zeros_like(parents, dtype=torch.float32)
    again[order[1:]] = (ordered[1:] == ordered[:-1]).float()
    return again
