"""Rows that are exempt from the pruning of other strategies."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from splat.core.edit import SPLIT, Edit
from splat.core.model import Model
from splat.core.step import Step
from splat.core.strategy import Wrapper
from splat.rules.spare import conditions, spared

AGE = "protect_age"
"""Statistic: steps since a row was born or relocated; only where a rule asks for it."""


@dataclass(frozen=True)
class Protect(Wrapper):
    """Rows that match a rule are not dropped (as LighthouseGS keeps opaque rows that are large).

    The rule is asked of rows as they are before the edit, of newborn ones as they are born. What
    dies in a split is replaced, not dropped. Relocation (MCMC) drops nothing either.
    """

    rule: str = "opacity>0.5"
    """Which rows are exempt: opacity, scale (the largest, scene extents) or age (steps since
    birth), with >, >=, < or <= and a number; several with `and`. In quotes: a shell takes > for a
    file."""
    reasons: tuple[str, ...] = ()
    """Reasons of pruning from which they are exempt, in the words of the log, such as opacity or
    size; none given: from all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
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
        ages = self._ages(step)
        return spared(step, edit, conditions(self.rule), self.reasons, self.cap, ages=ages)

    @property
    def _watches_age(self) -> bool:
        return self._asks("age")

    def _asks(self, what: str) -> bool:
        return any(condition.what == what for condition in conditions(self.rule))

    def _ages(self, step: Step) -> Float[Tensor, "n"] | None:
        return step.model.cloud.statistic(AGE) if self._watches_age else None
