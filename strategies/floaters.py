"""Pruning of floaters, rows in the free space before surfaces, beside any method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.cleanup import floaters
from splat.core import schedule
from splat.core.edit import Drop, Edit
from splat.core.families import merged_edits
from splat.core.model import Model
from splat.core.step import Step
from splat.core.strategy import Strategy, Wrapper, recipe_name_of
from splat.rules.views import even_views
from splat.system.ranges import at_least, within
from splat.types import Rendered

VIEWS_SHARE = 50
"""One view is scored per so many steps: at two and a half steps each, a 20th of a run."""
FEWEST_VIEWS = 6
"""Fewest views that have to agree, whatever it costs."""
BARE = 0.01
"""Opacity of a pixel below which it shows the background."""


@dataclass(frozen=True)
class Floaters(Wrapper):
    """Prune floaters: rows that views find alone in the free space before surfaces (ours).

    Views tell what they see at the place of a row without it (`splat.cleanup.floaters`), and their
    photos whether they miss it. Where the method relocates rows, floaters are relocated, and the
    number of rows stays.
    """

    known_as = "floaters"
    at: tuple[int, ...] = (9_000, 15_000, 21_000, 27_000)
    """Steps after which rows are looked at."""
    share: Annotated[float, within(0, 1, low_open=True)] = 0.02
    """Share of the rows that may be pruned at once; those that contribute most go first."""
    alone: Annotated[float, within(0, 1, low_open=True)] = 0.35
    """Share of a row's contribution that finds no surface at its depth, from which it is a
    floater."""
    views: Annotated[int, at_least(0)] = 24
    """Training views that are looked at, evenly spread; 0: all. A fitted schedule looks at no more
    than cost a 20th of the run, and at 6 at least."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.at or min(self.at) < 1 or list(self.at) != sorted(set(self.at)):
            raise ValueError(
                f"at is {self.at}, expected steps above 0 in ascending order, such as 9000 15000"
            )

    def scheduled(self, steps: int) -> Strategy:
        at = tuple(dict.fromkeys(max(schedule.at(step, steps), 1) for step in self.at))
        most = max(steps // (VIEWS_SHARE * len(at)), FEWEST_VIEWS)
        return replace(
            self, base=self.base.scheduled(steps), at=at, views=min(self.views or most, most)
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        base = self.base.acts(steps)
        what = f"{'move' if self.recycles else 'drop'} floaters"
        own = {*base.get(what, ()), *(done for done in self.at if done <= steps)}
        return {**base, **({what: sorted(own)} if own else {})}

    def begin(self, model: Model) -> None:
        if model.slots > 1 or "log_scale" not in model.cloud:
            raise ValueError(
                "floaters are rows that are Gaussians, and those of"
                f" {recipe_name_of(type(self.base))} are {model.unit}; leave it out"
            )
        super().begin(model)

    def proposal(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
        """What the base proposes, with `rows` relocated and, where that is due, floaters pruned."""
        gone = self.floating(step) if step.number + 1 in self.at else None
        if gone is not None and gone.any() and self.recycles:
            rows, gone = gone if rows is None else gone | rows, None
        edit = super().proposal(step, rows)
        if gone is None or not gone.any():
            return edit
        drop = Drop(gone.nonzero().squeeze(1), "floater")
        return merged_edits([Edit(drop=(drop,)), edit], step.model.cloud)

    def floating(self, step: Step) -> Bool[Tensor, "n"]:
        """Rows that are floaters, no more than may be pruned at once and never the last one."""
        n = len(step.model.cloud)
        looked = [step.survey(i) for i in even_views(step.views, self.views)]
        batches = [each.batch for each in looked]
        with torch.no_grad():
            gaussians = step.model(batches[0].camera, step.number)
        rules = floaters.Rules(alone=self.alone, rounds=1)
        behind = _background([each.rendered for each in looked])
        verdict = floaters.floaters(gaussians, step.render, batches, behind, rules)
        return verdict.at_most(min(int(self.share * n), n - 1)).rows


def _background(pictures: Sequence[Rendered]) -> Float[Tensor, "3"] | None:
    """The background's colour: the median where nothing is drawn; None where all is covered."""
    bare = torch.cat([each.image[each.alpha < BARE] for each in pictures])
    return bare.median(0).values if len(bare) else None
