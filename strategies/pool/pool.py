"""The part that grows a set of Gaussians on the places of a grid: GVGEN's candidate pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch

from splat.core.chain import check_makes_the_model
from splat.core.edit import Append, Edit, Rows
from splat.core.model import Making, Model
from splat.core.objective import Objective
from splat.core.schedule import at
from splat.core.step import Step
from splat.core.strategy import Start, Strategy, Wrapper
from splat.strategies.pool.claims import SLOT, claimed, slots, without_births_and_deaths
from splat.strategies.pool.lattice import LEAST, MOST
from splat.strategies.pool.model import Gridded, filling
from splat.strategies.pool.terms import Near
from splat.system.ranges import above, at_least, within

FILLER = 1e-4
"""Opacity of rows that fill places which are free at the end of growth (GVGEN's released code)."""


@dataclass(frozen=True)
class Pool(Wrapper):
    """As many Gaussians as a grid has places, each near its own: a scene as a volume (after the
    candidate pool of GVGEN, He et al., ECCV 2024).

    All places begin with a Gaussian. One that dies leaves its place free; one that is born has to
    find a free place near it, and is not born where there is none. After half of the run all that
    are free are filled, and from then on none dies or is born: `splat volume` writes the grid.
    What a run starts from says where the grid lies, and which colours it begins with.

    Differs: no family of births is half granted; a child of a split may have its parent's place;
    the box is that of the points; colours, scales and turns are not clamped; Gaussians may be six
    cells from their places, for more of them to find one (`--reach 1.5` is as published).
    """

    grid: Annotated[int, within(LEAST, MOST)] = 32
    """Places along an edge of the grid; as many Gaussians as its third power."""
    reach: Annotated[float, above(0)] = 6.0
    """Cells, along each axis, that a Gaussian may be born from its place, and that it may be from
    it at no cost."""
    near_weight: Annotated[float, at_least(0)] = 20.0
    """Weight of the loss of what is farther from its place, in edges of the grid."""
    refill_at: Annotated[int, at_least(1)] = 15_000
    """Step after which all free places are filled, and births and deaths end."""
    orphans: bool = False
    """Leave newborn rows without a place out one by one, as the published code does, and not
    whole families of them."""

    of_start = frozenset({"grid"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base.recycles:
            raise ValueError(
                "pool gives each row a place of a grid, and the method before it moves dead rows to"
                " where others are; put it behind one that clones and splits: adc + pool"
            )

    @property
    def cap(self) -> int:  # type: ignore[override]
        return self.grid**3

    @property
    def start(self) -> Start:  # type: ignore[override]
        return replace(self.base.start, fill=self.grid**3)

    def scheduled(self, steps: int) -> Strategy:
        return replace(
            self, base=self.base.scheduled(steps), refill_at=max(1, at(self.refill_at, steps))
        )

    def limited(self, cap: int, by: int = 0) -> Strategy:
        """With a grid of no more places."""
        grid = self.grid
        while grid**3 > cap and grid > LEAST:
            grid -= 1
        return replace(self, grid=grid, base=self.base.limited(cap, by))

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        acts = {
            act: [step for step in done if step <= self.refill_at]
            for act, done in self.base.acts(steps).items()
        }
        own = {"grow to the whole grid": [self.refill_at]} if self.refill_at <= steps else {}
        return {**{act: done for act, done in acts.items() if done}, **own}

    def objectives(self) -> Mapping[str, Objective]:
        own = {"near": Near(self.near_weight, self.reach)} if self.near_weight else {}
        return {**self.base.objectives(), **own}

    def model(self, rows: Rows, making: Making) -> Model:
        check_makes_the_model(self)
        return Gridded(rows, making, self.grid)

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        model, done = step.model.core, step.number + 1
        assert isinstance(model, Gridded)
        if edit is not None and done > self.refill_at:
            return without_births_and_deaths(edit, len(model.cloud))
        if edit is not None:
            edit = claimed(edit, model.cloud, model.lattice, self.reach, orphans=self.orphans)
        return self._filled(model, edit or Edit()) if done == self.refill_at else edit

    def _filled(self, model: Gridded, edit: Edit) -> Edit:
        """The edit, and a faint row in every place that is free after it."""
        cloud = model.cloud
        born = [append.rows[SLOT].long() for append in edit.append]
        own = torch.cat([slots(cloud), *(each.to(cloud.device) for each in born)])
        gone = torch.zeros(len(own), dtype=torch.bool, device=own.device)
        for drop in edit.drop:
            gone[drop.rows] = True
        free = torch.ones(len(model.lattice), dtype=torch.bool, device=own.device)
        free[own[~gone]] = False
        numbers = free.nonzero().squeeze(1)
        if not len(numbers):
            return edit
        like = {name: cloud[name].detach() for name in cloud.names}
        rows = filling(model.lattice, numbers, like, FILLER, dark=True)
        return edit + Edit(append=(Append(rows, torch.full_like(numbers, -1), "grow"),))
