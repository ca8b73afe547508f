"""Blur split: rows that dominate a good part of a picture are split, beside any method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch

from splat.core.edit import Edit
from splat.core.families import limited_births, merged_edits
from splat.core.model import Model
from splat.core.schedule import at, due, dues, every
from splat.core.step import Step
from splat.core.strategy import Strategy, Wrapper, recipe_name_of
from splat.rules.births import split
from splat.rules.select import select
from splat.rules.views import VIEWS_SHARE, random_views
from splat.system.ranges import at_least, within


@dataclass(frozen=True)
class BlurSplit(Wrapper):
    """Blur split (Mini-Splatting): split rows that are the strongest in many pixels of a picture.

    A row with more pixels in which none has a larger blending weight than `share` of a picture is
    split in two, whatever its gradient says (Fang & Wang 2024). Rows with the most such pixels
    come first where a cap leaves room for some only.

    Differs: pixels are counted in a few training views at each refinement, not in every step's.
    """

    known_as = "blur-split"
    share: Annotated[float, within(0, 1, low_open=True, high_open=True, note="2e-4 is usual")] = (
        2e-4
    )
    """Share of a picture's pixels above which a row is split (1/5000)."""
    views: Annotated[int, at_least(0)] = 0
    """Training views that are looked at each time, drawn anew; 0: all. A fitted schedule looks at
    no more than cost a 20th of the phase."""
    refine_from: int = 500
    """Rows are split after this step."""
    refine_until: int = 15_000
    """Rows are split before this step."""
    refine_every: Annotated[int, at_least(1)] = 100
    """Steps between refinements."""

    def scheduled(self, steps: int) -> Strategy:
        between = every(self.refine_every, steps)
        most = max(between // VIEWS_SHARE, 1)
        return replace(
            self,
            base=self.base.scheduled(steps),
            views=min(self.views or most, most),
            refine_from=at(self.refine_from, steps),
            refine_until=at(self.refine_until, steps),
            refine_every=between,
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        own = dues(self.refine_from, self.refine_until, self.refine_every, steps)
        return {**self.base.acts(steps), **({"split what blurs": own} if own else {})}

    def begin(self, model: Model) -> None:
        if "log_scale" not in model.cloud:
            raise ValueError(
                "blur-split splits rows that are Gaussians, and those of"
                f" {recipe_name_of(type(self.base))} are {model.unit}, which are not split;"
                " leave it out"
            )
        super().begin(model)

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        if not due(step.number + 1, self.refine_from, self.refine_until, self.refine_every):
            return edit
        cloud = step.model.cloud
        worst = torch.zeros(len(cloud), dtype=torch.float64, device=cloud.device)
        for view in random_views(len(step.views), self.views, step.generator("views of blur")):
            survey = step.survey(view)
            pixels = survey.rendered.alpha.numel()
            worst = worst.maximum(survey.rows.area.double() / pixels)
        room = self.cap - len(cloud) if self.cap else len(cloud)
        parents = select(worst.where(worst > self.share, 0), room)
        grown = split(cloud, parents, step.generator("split what blurs"))
        # What is split here is split once: a family of the base's with such a row is left out.
        both = merged_edits([grown, edit], cloud) if len(parents) else edit
        return limited_births(both, cloud, self.cap)
