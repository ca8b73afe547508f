"""Contribution-based pruning, beside any method: five published recipes of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core import schedule, score
from splat.core.cloud import Cloud
from splat.core.edit import Drop, Edit
from splat.core.families import limited_births, merged_edits
from splat.core.model import Model
from splat.core.step import Step
from splat.core.strategy import Strategy, Wrapper, proposal, recycler
from splat.rules.select import Mode, select
from splat.rules.views import VIEWS_SHARE, even_views
from splat.system.ranges import at_least, within

Score = Literal[score.Significance, "random"]
LIGHTGAUSSIAN_KEEP = 0.34
"""Share of rows that LightGaussian keeps."""
_OF_COLUMNS = ("lightgaussian", "lightgaussian_released", "opacity")


def growing_steps(strategy: Strategy, steps: int) -> list[int]:
    """Steps of a run after which a strategy, fitted to it, may grow, by the names of its acts."""
    return [
        done
        for act, when in strategy.acts(steps).items()
        if {"grow", "split", "clone"} & {*re.findall("[a-z]+", act)}
        for done in when
    ]


@dataclass(frozen=True)
class Significance(Wrapper):
    """Contribution-based pruning: rows that contribute least to the training views, at given steps.

    Rows are scored in many views as they are at the step (`splat.core.score`); the least
    significant are pruned, or relocated by a method that relocates rows. As it stands this is
    LightGaussian (Fan et al. 2024): two thirds at once, 5,000 steps before the end. Clones and
    splits of pruned rows in the same edit do not happen.
    """

    undivided = "it scores all of them in surveys of whole pictures"
    score: Score = "lightgaussian"
    """Score. mass: sum of blending weights; hits: pixels; most: largest weight (RadSplat); area:
    pixels in which it is largest; lightgaussian: opacity x transmittance x volume^0.1, and as
    released, without transmittance; opaque: opacity x pixels as it is drawn in each view
    (Light4GS); squared: squared derivatives (Speedy-Splat); mini: mass if
    largest anywhere (Mini-Splatting), and for outdoors; opacity; random, to compare with."""
    at: tuple[int, ...] = (25_000,)
    """Steps after which rows are pruned."""
    keep: Annotated[float | None, within(0, 1, low_open=True)] = None
    """Share of the rows that is kept. None: 0.34, where `mass` and `below` are not given."""
    mass: Annotated[float | None, within(0, 1, low_open=True)] = None
    """Keep the fewest rows that hold this share of the score's sum instead (Mini-Splatting)."""
    below: float | None = None
    """Prune rows with a score below this instead (RadSplat)."""
    pick: Mode = "top"
    """Which rows make up the share that is kept: those of the highest score, or drawn in proportion
    to it, as many as the share of those with any (Mini-Splatting's sampling)."""
    decay: Annotated[float, within(0, 1, low_open=True)] = 1.0
    """Factor on the share that is pruned, from one step of `at` to the next (LightGaussian 0.8)."""
    how: Literal["drop", "shrink", "recycle"] | None = None
    """drop: rows are pruned; shrink: they are, and the number of rows does not grow again; recycle:
    the method relocates them to where rows are needed, their number stays. None: drop."""
    while_growing: bool = False
    """Prune only where the method it stands behind grows again later in the run: else what goes
    makes room for nothing, as in runs too short to grow."""
    views: Annotated[int, at_least(0)] = 0
    """Training views that are scored, evenly spread; 0: all. A fitted schedule scores no more than
    cost a 20th of the run, unless `every_view`."""
    every_view: bool = False
    """Score as many views as `views` says, whatever that costs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("keep", "mass", "below") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"{given[0]} and {given[1]} are both given, which both say how many rows stay;"
                " leave one of them out"
            )
        if not self.at or min(self.at) < 1 or list(self.at) != sorted(set(self.at)):
            raise ValueError(
                f"at is {self.at}, expected steps above 0 in ascending order, such as 16000 24000"
            )
        if self.pick == "multinomial" and not {"mass", "below"}.isdisjoint(given):
            raise ValueError(
                f"pick multinomial draws a share of the rows, and {given[0]} asks for another rule;"
                " give keep instead"
            )
        if self.how == "drop":
            self._refuse_to_drop()
        if self.how == "recycle":
            recycler(self.base)

    def scheduled(self, steps: int) -> Strategy:
        at = tuple(dict.fromkeys(max(schedule.at(step, steps), 1) for step in self.at))
        base = self.base.scheduled(steps)
        if self.while_growing:
            last = max(growing_steps(base, steps), default=0)
            # Beyond the end: never.
            at = tuple(done for done in at if done < last) or (steps + 1,)
        most = max(steps // (VIEWS_SHARE * len(at)), 1)
        views = self.views if self.every_view else min(self.views or most, most)
        return replace(self, base=base, at=at, views=views)

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        what = f"{'move' if self.how == 'recycle' else 'prune'} by {self.score}"
        base = self.base.acts(steps)
        own = {*base.get(what, ()), *(done for done in self.at if done <= steps)}
        return {**base, **({what: sorted(own)} if own else {})}

    def begin(self, model: Model) -> None:
        if self.how is None:
            self._refuse_to_drop()
        _activated(model.cloud, self.score)  # of what rows lack one learns now
        self.base.begin(model)

    def _refuse_to_drop(self) -> None:
        if self.base.recycles:
            raise ValueError(
                f"{type(self.base).__name__} fills up again whatever is dropped; say --how recycle"
                " (the least significant rows move, their number stays) or --how shrink (they go,"
                " and no more grow)"
            )

    def proposal(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
        """What the base proposes, with `rows` relocated, and pruning where it is due."""
        done, cloud = step.number + 1, step.model.cloud
        most = len(cloud) if self.how == "shrink" and done > self.at[0] else 0
        if done not in self.at:
            return _asked(self.base, step, rows, most)
        gone = self.condemned(self.scores(step), self.at.index(done), step.generator("pick"))
        if self.how == "recycle":
            return super().proposal(step, gone if rows is None else gone | rows)
        if self.how == "shrink":
            most = len(cloud) - int(gone.sum())
        drop = Drop(gone.nonzero().squeeze(1), "significance")
        return merged_edits([Edit(drop=(drop,)), _asked(self.base, step, rows, most)], cloud)

    def scores(self, step: Step) -> Float[Tensor, "n"]:
        """The score of every row, from the views of the run as they are now."""
        cloud = step.model.cloud
        if self.score == "random":
            return torch.rand(len(cloud), generator=step.generator("score"), device=cloud.device)
        opacity, scale = _activated(cloud, self.score)
        views = None
        if self.score != "opacity":
            indices = even_views(step.views, self.views)
            views = score.scores(step.survey(index) for index in indices)
        return score.significance(self.score, views, opacity, scale)

    def condemned(
        self,
        scores: Float[Tensor, "n"],
        time: int = 0,
        generator: torch.Generator | None = None,
    ) -> Bool[Tensor, "n"]:
        """Rows to prune the `time`-th time, from 0; none where the scores tell no row from none.

        A share is rounded to keep more, and at least one row; of equal rows the first go.
        """
        if torch.isnan(scores).any():
            raise ValueError(
                f"{int(torch.isnan(scores).sum())} of {len(scores)} rows have no score"
                f" {self.score}; look for rows whose columns are not finite"
            )
        gone = torch.zeros_like(scores, dtype=torch.bool)
        if not (scores > 0).any():
            return gone
        if self.below is not None:
            low = scores < self.below
            return gone if low.all() else low
        if self.pick == "multinomial":
            kept = self._kept(int((scores > 0).sum()), time)
            return ~gone.index_fill_(0, select(scores, kept, "multinomial", generator), True)
        order = scores.argsort(stable=True)
        if self.mass is not None:
            held = scores.double()[order.flip(0)].cumsum(0)
            kept = int((held < self.mass * held[-1]).sum()) + 1
        else:
            kept = self._kept(len(scores), time)
        return gone.index_fill_(0, order[: len(scores) - kept], True)

    def _kept(self, rows: int, time: int) -> int:
        """How many of so many rows are kept by their share the `time`-th time."""
        keep = LIGHTGAUSSIAN_KEEP if self.keep is None else self.keep
        # What is a whole number must not become the next by rounding.
        return max(math.ceil((1 - (1 - keep) * self.decay**time) * rows - 1e-6), 1)


def _asked(base: Strategy, step: Step, rows: Bool[Tensor, "n"] | None, most: int) -> Edit | None:
    """What the base proposes, with no more than so many rows after it; 0: as many as it likes."""
    base = base.limited(most) if most else base
    edit = proposal(base, step, rows)
    return limited_births(edit, step.model.cloud, most)


def _activated(cloud: Cloud, name: str) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
    """Opacity and scales of rows; ones where a cloud has none and the score asks for none."""
    if "opacity_logit" in cloud and "log_scale" in cloud:
        return cloud["opacity_logit"].detach().sigmoid(), cloud["log_scale"].detach().exp()
    if name in _OF_COLUMNS:
        raise ValueError(
            f"the score {name} is made of opacity and scale, and rows have {sorted(cloud.names)};"
            " take another, such as mass"
        )
    ones = torch.ones(len(cloud), 3, device=cloud.device)
    return ones[:, 0], ones
