"""Rows that another strategy may not drop."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.edit import SPLIT, Edit, Rows
from splat.core.families import within
from splat.core.model import Model
from splat.core.strategy import Wrapper
from splat.types import Step

AGE = "protect_age"
"""Statistic: steps since a row was born or moved; only where a rule asks for it."""
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
    number: float

    def holds(self, values: Float[Tensor, "n"]) -> Bool[Tensor, "n"]:
        """Where it holds."""
        found: Tensor = _COMPARED[self.sign](values, self.number)
        return found


def conditions(rule: str) -> tuple[Condition, ...]:
    """A rule such as `opacity>0.5` or `scale<0.01 and age>500`, all of which must hold."""
    found = []
    for text in re.split(r"\band\b|,", rule):
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise ValueError(
                f"rule {text.strip()!r} is none; expected opacity, scale or age compared with a"
                " number, such as 'opacity>0.5' or 'scale<0.01 and age>500' (in quotes: a shell"
                " takes > for a file)"
            )
        found.append(Condition(match[1], match[2], float(match[3])))
    return tuple(found)


@dataclass(frozen=True)
class Protect(Wrapper):
    """Rows that match a rule are not dropped (as LighthouseGS keeps opaque rows that are large).

    The rule is asked of rows as they are before the edit, of newborn ones as they are born. What
    dies in a split is replaced, not dropped. Moving a row (MCMC) drops nothing either.
    """

    rule: str = "opacity>0.5"
    """Which rows: opacity, scale (the largest, scene extents) or age (steps since birth), with >,
    >=, < or <= and a number; several with `and`. In quotes: a shell takes > for a file."""
    reasons: tuple[str, ...] = ()
    """For which they are not dropped, in the words of the log: opacity, size, ...; none given:
    for none at all."""

    def __post_init__(self) -> None:
        conditions(self.rule)
        if SPLIT in self.reasons:
            raise ValueError(
                "reasons has split; a row that is split lives on in its children, and without it"
                " there would be three: leave split out"
            )

    def begin(self, model: Model) -> None:
        if self._asks("opacity") and "opacity_logit" not in model.cloud:
            raise ValueError(
                f"rule {self.rule!r} asks for opacity, which {model.unit} have only for a camera;"
                " ask for scale or age"
            )
        super().begin(model)
        if self._watches_age:
            model.cloud.track(AGE, combine="same")

    def observe(self, step: Step) -> None:
        super().observe(step)
        if self._watches_age:
            step.model.cloud.statistic(AGE).add_(1)

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        if edit is None or not edit.drop:
            return edit
        cloud = step.model.cloud
        shape = {name: cloud[name].detach() for name in cloud.names}
        matched = [self._matched(shape, self._ages(step), step)]
        for append in edit.append:
            born = torch.zeros(len(append.parents), device=cloud.device)
            matched.append(self._matched(append.rows, born, step))
        safe = torch.cat(matched)
        drops = tuple(
            replace(drop, rows=drop.rows[~safe[drop.rows]]) if self._covers(drop.reason) else drop
            for drop in edit.drop
        )
        return within(replace(edit, drop=drops), cloud, self.cap)

    @property
    def _watches_age(self) -> bool:
        return self._asks("age")

    def _asks(self, what: str) -> bool:
        return any(condition.what == what for condition in conditions(self.rule))

    def _covers(self, reason: str) -> bool:
        return reason != SPLIT and (not self.reasons or reason in self.reasons)

    def _ages(self, step: Step) -> Float[Tensor, "n"]:
        cloud = step.model.cloud
        if self._watches_age:
            return cloud.statistic(AGE)
        return torch.zeros(len(cloud), device=cloud.device)

    def _matched(self, rows: Rows, ages: Float[Tensor, "n"], step: Step) -> Bool[Tensor, "n"]:
        found = torch.ones(len(ages), dtype=torch.bool, device=ages.device)
        for condition in conditions(self.rule):
            if condition.what == "opacity":
                values = rows["opacity_logit"].sigmoid()
            elif condition.what == "scale":
                values = rows[step.model.reach].amax(1).exp() / step.extent
            else:
                values = ages
            found &= condition.holds(values)
        return found
