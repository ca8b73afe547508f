"""Rows that are not to be dropped: those that match a rule such as `opacity>0.5 and age<500`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.edit import SPLIT, Edit, Rows
from splat.core.edit_check import brought, check_edit
from splat.core.families import limited_births
from splat.core.step import Step

_COMPARED: dict[str, Callable[[Any, float], Any]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_CONDITION = re.compile(r"\s*(opacity|scale|age)\s*(>=|<=|>|<)\s*([0-9.]+(?:e[-+]?[0-9]+)?)\s*")


@dataclass(frozen=True)
class Condition:
    """One comparison of a rule."""

    what: str
    """`opacity`, `scale` (the largest of three, scene extents) or `age` (steps since birth)."""
    sign: str
    """One of > >= < <=."""
    number: float

    def holds(self, values: Float[Tensor, "n"]) -> Bool[Tensor, "n"]:
        """Rows of which it holds."""
        holds: Tensor = _COMPARED[self.sign](values, self.number)
        return holds


def conditions(rule: str) -> tuple[Condition, ...]:
    """The conditions of a rule such as `scale<0.01 and age>500`, all of which must hold."""
    comparisons = []
    for text in re.split(r"\band\b|,", rule):
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise ValueError(
                f"rule {text.strip()!r} is none; expected opacity, scale or age compared with a"
                " number, such as 'opacity>0.5' or 'scale<0.01 and age>500' (in quotes: a shell"
                " takes > for a file)"
            )
        comparisons.append(Condition(match[1], match[2], float(match[3])))
    return tuple(comparisons)


def spared(
    step: Step,
    edit: Edit,
    rule: Sequence[Condition],
    reasons: Sequence[str],
    cap: int,
    *,
    ages: Float[Tensor, "n"] | None = None,
) -> Edit | None:
    """An edit that drops no row of which all conditions hold.

    Rows are asked as they are before the edit, newborn ones as they are born. `reasons` are those
    for which rows are spared, none given: all but splits, in which a row lives on. `ages` are steps
    since birth, None: 0. Of what is left at most `cap` rows come to be (0: any number).
    """
    cloud = step.model.cloud
    check_edit(edit, cloud)
    edit = brought(edit, cloud)
    shape = {name: cloud[name].detach() for name in cloud.names}
    row_ages = torch.zeros(len(cloud), device=cloud.device) if ages is None else ages
    matched = [_matched(shape, row_ages, rule, step)]
    for append in edit.append:
        born = torch.zeros(len(append.parents), device=cloud.device)
        matched.append(_matched(append.rows, born, rule, step))
    safe = torch.cat(matched)
    drops = tuple(
        replace(drop, rows=drop.rows[~safe[drop.rows]])
        if drop.reason != SPLIT and (not reasons or drop.reason in reasons)
        else drop
        for drop in edit.drop
    )
    return limited_births(replace(edit, drop=drops), cloud, cap)


def _matched(
    rows: Rows, ages: Float[Tensor, "n"], rule: Sequence[Condition], step: Step
) -> Bool[Tensor, "n"]:
    matched = torch.ones(len(ages), dtype=torch.bool, device=ages.device)
    for condition in rule:
        if condition.what == "opacity":
            values = rows["opacity_logit"].sigmoid()
        elif condition.what == "scale":
            values = rows[step.model.reach].amax(1).exp() / step.extent
        else:
            values = ages
        matched &= condition.holds(values)
    return matched
