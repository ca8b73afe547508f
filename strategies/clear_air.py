"""Clear air: nothing is where cameras stood, so no row lies there or reaches there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.edit import Drop, Edit, Nudge, Rows
from splat.core.families import merged_edits
from splat.core.step import Step
from splat.core.strategy import Wrapper
from splat.rules.air import Balls
from splat.rules.confine import confined
from splat.system.ranges import at_least

SMALLEST = 0.05
"""Factor on a row's size below which it is removed instead of shrunk."""
MARGIN = 1e-3
"""Share by which rows are made smaller than would just do."""


@dataclass(frozen=True)
class ClearAir(Wrapper):
    """Clear air (ours): rows in the free ball about a camera go, rows that reach into it shrink.

    A ball has half the distance from its camera to the nearest points of the scene, and there are
    some between cameras side by side (`splat.seeding.air`). No row is born in one, nor, where rows
    say sizes and turns of their own, reaching into one. Where rows only make Gaussians, or nothing
    is known of the scene, all is as without.
    """

    known_as = "clear-air"
    undivided = ""

    every: Annotated[int, at_least(1)] = 50
    """Steps from one look at all rows to the next."""
    last: Annotated[int, at_least(0)] = 0
    """A step after which rows are looked at too, the last one of the run; 0: none."""

    def proposal(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
        model, done = step.model, step.number + 1
        gone, shrink, balls = None, None, None
        if done % self.every == 0 or done == self.last:
            balls = _balls(step)
            gone, shrink = (None, None) if balls is None else _in_the_way(step, balls)
        if gone is not None and self.recycles and done != self.last:
            rows, gone = gone if rows is None else gone | rows, None
        edit = super().proposal(step, rows)
        if edit is not None and (edit.append or edit.assign):
            balls = balls or _balls(step)
        if balls is None:
            return edit
        edit = confined(step, edit, lambda positions: ~balls.hold(positions), self.cap)
        edit = edit and _newborn_fitted(edit, balls)
        own = Edit(
            nudge=() if shrink is None else (Nudge(step.model.reach, shrink),),
            drop=() if gone is None else (Drop(gone.nonzero().squeeze(1), "air"),),
        )
        return edit if own == Edit() else merged_edits([own, edit], model.cloud)


@torch.no_grad()
def _balls(step: Step) -> Balls | None:
    """The air around the cameras, where rows are what has to keep out of it."""
    return None if step.model.shapes() is None else Balls.around(step.views)


def _newborn_fitted(edit: Edit, balls: Balls) -> Edit:
    """The edit, its new rows of a size with which they reach into no ball."""
    return replace(
        edit,
        append=tuple(replace(each, rows=_fitted(each.rows, balls)) for each in edit.append),
        assign=tuple(replace(each, rows=_fitted(each.rows, balls)) for each in edit.assign),
    )


@torch.no_grad()
def _fitted(rows: Rows, balls: Balls) -> Rows:
    if not {"mean", "log_scale", "quat"} <= rows.keys():
        return rows
    factor = balls.fitting(rows["mean"], rows["log_scale"].exp(), rows["quat"])
    return {**rows, "log_scale": rows["log_scale"] + _change(factor)}


def _change(factor: Float[Tensor, "n"]) -> Float[Tensor, "n 1"]:
    """What to add to logarithms of sizes, so that rows are a little smaller than would just do."""
    wanted = (factor * (1 - MARGIN)).clamp_min(1e-6).log()
    return wanted.where(factor < 1, 0)[:, None]


@torch.no_grad()
def _in_the_way(
    step: Step, balls: Balls
) -> tuple[Bool[Tensor, "n"] | None, Float[Tensor, "n s"] | None]:
    """Rows to remove, and what to add to the logarithms of all sizes; None: nothing."""
    cloud, shapes = step.model.cloud, step.model.shapes()
    assert shapes is not None
    sizes, quats = shapes[0].exp(), shapes[1]
    factor = torch.stack(
        [balls.fitting(means, sizes, quats) for means in step.model.passed()]
    ).amin(0)
    gone = factor < SMALLEST
    shrink = None
    if bool(((factor < 1) & ~gone).any()):
        change = _change(factor).masked_fill(gone[:, None], 0)
        shrink = change.expand_as(cloud[step.model.reach]).contiguous()
    # All processes that share the rows out see to it, or none.
    count = cloud.shard.total(int(gone.sum()))
    return (gone if 0 < count < cloud.shard.total(len(gone)) else None), shrink
