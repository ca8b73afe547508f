"""The part that makes planes of a deformation cheap to keep: rounded, and paid for by the bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core import schedule
from splat.core.edit import Rows
from splat.core.model import Making, Model, module_of
from splat.core.objective import Objective
from splat.core.step import Step
from splat.core.strategy import Wrapper
from splat.formats import range_coding
from splat.strategies.deform.coding.context import Kind, PlaneContext
from splat.strategies.deform.coding.rows import STEPS
from splat.strategies.deform.coding.touched import touched
from splat.strategies.deform.field import RoundingStep
from splat.strategies.deform.model import CONTEXT, Deformed
from splat.system.ranges import above, at_least


@dataclass(frozen=True)
class PlanesCoded(Wrapper):
    """Planes of a deformation that take few bits in a `.clip` file (after Light4GS, Liu et al.
    2025).

    They are rounded, and what their bits are expected to be is part of the loss. Stands behind
    `deform`. Planes are expected from coarse to fine, each in the two turns of a chessboard. What
    no Gaussian reads costs nothing.

    Differs: values are rounded, not shaken by noise; networks are small, and latents of a
    hyperprior trained themselves; bits are counted for the planes of one axis at a time. What
    harmonics cost is said in a closed form.
    """

    known_as = "planes-coded"
    rate: Annotated[float, at_least(0, note="1e-3 is published")] = 1e-2
    """Weight of the mean bits of a value of the planes, beside the other terms of the loss."""
    sh_rate: Annotated[float, at_least(0)] = 1e-2
    """Weight of the mean bits of a coefficient of the harmonics but for the constant ones."""
    coded_from: Annotated[int, at_least(0)] = 12_000
    """Step from which planes are rounded and their bits count."""
    every: Annotated[int, at_least(1)] = 3
    """Steps between those at which bits are counted."""
    space_step: Annotated[float, above(0)] = 0.02
    """What values of planes of space are rounded to multiples of."""
    time_step: Annotated[float, above(0)] = 0.02
    """The same of planes of time."""
    context: Kind = "small"
    """What values are expected by. small: a square around each and the coarser plane; full: a
    hyperprior, and of planes of space those of time, too, as Light4GS has it."""

    def scheduled(self, steps: int) -> PlanesCoded:
        return replace(
            self, base=self.base.scheduled(steps), coded_from=schedule.at(self.coded_from, steps)
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        own = {"begin to count bits": [self.coded_from]} if 0 < self.coded_from <= steps else {}
        return {**self.base.acts(steps), **own}

    def objectives(self) -> Mapping[str, Objective]:
        own: dict[str, Objective] = {"bits": PlaneBits(self.rate, self.coded_from, self.every)}
        if self.sh_rate:
            own["bits_of_harmonics"] = HarmonicBits(self.sh_rate, self.coded_from, self.every)
        return {**self.base.objectives(), **own}

    def model(self, rows: Rows, making: Making) -> Model:
        range_coding.check()  # not only once training is over
        model = self.base.model(rows, making)
        if not isinstance(model, Deformed):
            raise ValueError(
                "planes-coded codes the planes of a deformation, and what stands before it has"
                " none; put it behind deform: adc + deform + planes-coded"
            )
        if CONTEXT in model.beside:
            raise ValueError("planes-coded is asked for twice; planes are coded once")
        model.field.step = RoundingStep(self.space_step, self.time_step)
        model.round_from = self.coded_from
        draws = torch.Generator().manual_seed(making.seed)
        context = PlaneContext(model.field, model.field.step, draws, self.context)
        context = context.to(model.cloud.device)
        model.beside[CONTEXT] = context.trained(making.steps)
        return model


@dataclass(frozen=True)
class PlaneBits(Objective):
    """Weight times the mean bits of a value that is read, of the planes of one axis after the
    other."""

    weight: float
    begin: int
    every: int

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        model = step.model
        assert isinstance(model, Deformed)
        if step.number < self.begin or step.number % self.every:
            return torch.zeros((), device=model.cloud.device)
        axis = step.number // self.every % 3
        inside = model.field.inside(model.cloud[model.place])
        read = [touched(inside, side, axis) for side in model.field.sizes.sides]
        context = module_of(model, CONTEXT, PlaneContext)
        return self.weight * context.bits(model.field, axis, read)


@dataclass(frozen=True)
class HarmonicBits(Objective):
    """Weight times the mean bits of a coefficient of harmonics, but for the constant ones.

    Coefficients of a row are coded as normal numbers of a deviation s of the row's own, in steps;
    of one between two steps that takes about log2(1 + 12 s^2) / 2 bits, none where s is 0. A row
    whose harmonics are next to nothing is drawn to none, one that has many keeps them.
    """

    weight: float
    begin: int
    every: int
    of_rows = True

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        cloud = step.model.cloud
        if step.number < self.begin or step.number % self.every or "sh" not in cloud.names:
            return torch.zeros((), device=cloud.device)
        tail = cloud["sh"][:, 1:]
        if not tail.numel():
            return tail.new_zeros(())
        squares = (tail / STEPS["tail"]).square().mean((1, 2))
        return self.weight * (12 * squares).log1p().mean() / (2 * math.log(2))
