"""The part that gives each Gaussian a time, a duration and a velocity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core import schedule
from splat.core.chain import check_makes_the_model
from splat.core.edit import Assign, Drop, Edit, Rows
from splat.core.families import merged_edits
from splat.core.model import Making, Model
from splat.core.step import Step
from splat.core.strategy import Start, Wrapper
from splat.rules.moves import knowing, may_move
from splat.strategies.moving import passing
from splat.strategies.moving.births import born_for_a_moment, split_in_time
from splat.strategies.moving.model import Timed
from splat.strategies.moving.still import stilled
from splat.system.ranges import above, at_least, within
from splat.types import Camera, PixelMap

MANY = 12
"""Cameras that stand still, from which rows are born for a moment wherever they are wrong. (Four
and six gain by looking for motion, 24 gain nothing; what is between was not tried.)"""
PULL = "time_pull"
"""Statistic: absolute gradients by a row's time, summed since rows were last born."""


@dataclass(frozen=True)
class Moving(Wrapper):
    """Gaussians that are there for a time and go along a line, for scenes that move (after
    FreeTimeGS, Wang et al., CVPR 2025).

    Rows fade out at other times than their own; those that are dead at every instant of the clip
    make room. What stands still from the start, or is found to later, is told apart: it is always
    there, and nothing pulls at its motion. Of rows that the method before it splits, those whose
    times are pulled at most become an earlier and a later one. A row that stands still and is wrong
    at one time only, where the method splits by its error, stays and has another beside it for that
    moment: shadows, and what passes before it.

    Differs: rows that stand still, splits in time, births for a moment; relocation is the method's
    own. FreeTimeGS relocates by gradient and opacity, and holds opacities down by their fading.
    """

    duration: Annotated[float, above(0)] = 0.2
    """Duration of first rows that are of one instant, in clips: the standard deviation of opacity
    over time."""
    dead: Annotated[float, within(0, 1, low_open=True, high_open=True)] = 0.005
    """Opacity below which a row is dead that is no more opaque at any instant of the clip."""
    still_at: tuple[int, ...] = (10_000, 20_000)
    """Steps after which rows that stand still are looked for."""
    split_share: Annotated[float, within(0, 1)] = 0.0
    """Share of the rows, those whose times are pulled at most, that are split in time where they
    are split."""
    every: Annotated[int, at_least(1)] = 100
    """Steps between looks at what is dead."""

    @property
    def start(self) -> Start:  # type: ignore[override]
        return replace(self.base.start, moves_within=self.duration)

    def scheduled(self, steps: int) -> Moving:
        return replace(
            self,
            base=self.base.scheduled(steps),
            still_at=tuple(schedule.at(step, steps) for step in self.still_at),
            every=schedule.every(self.every, steps),
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        room = "move what no instant shows" if self.recycles else "drop what no instant shows"
        own = {
            "find what stands still": [step for step in self.still_at if step <= steps],
            room: list(range(self.every, steps + 1, self.every)),
        }
        return {**self.base.acts(steps), **{act: when for act, when in own.items() if when}}

    def model(self, rows: Rows, making: Making) -> Model:
        check_makes_the_model(self)
        return Timed(rows, making, self.duration)

    def begin(self, model: Model) -> None:
        super().begin(model)
        if self._error_of(model) is not None:
            passing.track(model.cloud)
        if self.split_share:
            model.cloud.track(PULL, combine="sum")

    def observe(self, step: Step) -> None:
        super().observe(step)
        error = self._error_of(step.model)
        if error is not None:
            passing.observe(step, error)
        if self.split_share:
            gradient = step.model.cloud.gradient("time")
            if gradient is not None:
                step.model.cloud.statistic(PULL).add_(gradient.detach().abs())

    def proposal(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
        model, done = step.model.core, step.number + 1
        assert isinstance(model, Timed)
        gone = self._dead(model) if done % self.every == 0 else None
        if gone is not None and self.recycles:
            rows, gone = gone if rows is None else gone | rows, None
        edit = super().proposal(step, rows)
        if edit is not None and edit.append and self._error_of(model) is not None:
            edit = born_for_a_moment(edit, model.cloud, *_passing(model, step.views))
            edit = edit + Edit(clear=passing.WINDOW)
        if edit is not None and edit.append and self.split_share:
            pull = model.cloud.statistic(PULL)
            edit = split_in_time(edit, model.cloud, self._pulled(pull, model))
            edit = edit + Edit(clear=(PULL,))
        own = Edit()
        if gone is not None:
            own = own + Edit(drop=(Drop(gone.nonzero().squeeze(1), "time"),))
        if done in self.still_at:
            index, values = stilled(model, step.views)
            own = own + Edit(assign=(Assign(index, values, "still"),) if len(index) else ())
        return edit if own == Edit() else merged_edits([own, edit], model.cloud)

    def _error_of(self, model: Model) -> PixelMap | None:
        """The error that tells what passes; None: nothing does, or the method does not look."""
        core = model.core
        moves = isinstance(core, Timed) and core.instants > 1
        return passing.error_of(self.base) if moves else None

    def _dead(self, model: Timed) -> Bool[Tensor, "n"] | None:
        """Rows that are dead at every instant, though not at their own time; None: none are."""
        gone = (model.peaks_in_clip() <= self.dead) & ~model.lasting
        gone &= model.cloud["opacity_logit"].detach().sigmoid() > self.dead
        return gone if bool(gone.any()) and not bool(gone.all()) else None

    def _pulled(self, pull: Float[Tensor, "n"], model: Timed) -> Bool[Tensor, "n"]:
        free = pull.masked_fill(model.lasting, 0)
        count = int(self.split_share * int((free > 0).sum()))
        chosen = torch.zeros_like(model.lasting)
        if count:
            chosen[free.argsort(descending=True, stable=True)[:count]] = True
        return chosen


def _passing(
    model: Timed, cameras: Sequence[Camera]
) -> tuple[Bool[Tensor, "n"], Float[Tensor, "n"]]:
    """Rows that last and are wrong at one time only, where a camera may see motion, and when."""
    found, when = passing.passing(model.cloud)
    found &= model.lasting
    if knowing(cameras) < MANY:
        moves = may_move(model.cloud["mean"], cameras, when, share=0.0)
        found = found if moves is None else found & moves
    return found, when
