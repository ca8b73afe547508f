"""Compact anchors: `scaffold + coded` trains them to be coded in few bits (HAC, ECCV 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from splat import kernels
from splat.core.edit import Append, Drop, Edit, Rows
from splat.core.model import Making, Model
from splat.core.objective import Objective
from splat.core.schedule import PUBLISHED_STEPS, at
from splat.core.step import Step
from splat.core.strategy import Wrapper, recipe_name_of
from splat.formats import range_coding
from splat.strategies.scaffold.anchors import Anchored
from splat.strategies.scaffold.compact import (
    MASK_START,
    STEPS,
    CodedAnchors,
    Sample,
    Training,
)
from splat.strategies.scaffold.context import Shape
from splat.system.ranges import at_least, within

FASTER = 4.0
"""Most that the rate of masks is multiplied by in a short run."""
REFRESH_EVERY = 32
"""Steps between looks at the context for the steps of all anchors."""


@dataclass(frozen=True)
class Bits(Objective):
    """rate * bits per number of an anchor + mask_weight * mean mask (after HAC).

    Bits of a number are those of the normal distribution that the context expects, over a step
    around it; offsets count by their masks. The signs of the context's grid are told once for all.
    0 until numbers are shaken: an offset that nothing is drawn of while a scene takes shape may be
    needed later, and one that is masked out has no gradient to come back by.
    """

    rate: float
    mask_weight: float

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        model = step.model.core
        assert isinstance(model, CodedAnchors)
        shaking = step.number >= model.training_for.noise_from
        masks = model.cloud["mask"].sigmoid().mean()
        found = (self.mask_weight if shaking else 0.0) * masks
        sample = model.sample
        if sample is None or sample.step != step.number:
            return found
        numbers = sum(model.context.widths)
        bits = bits_of(model, sample).sum() / max(1, sample.values.numel())
        return found + self.rate * (bits + model.context.bits() / (numbers * len(model.cloud)))


def bits_of(model: CodedAnchors, sample: Sample) -> Float[Tensor, "n d"]:
    """Bits of each number of a sample; those of offsets times their masks."""
    context, expected = model.context, sample.expected
    steps = context.wide(expected.step)
    bits = kernels.surprise((sample.values - expected.mean) / steps, expected.scale / steps)
    features, reach, _ = context.widths
    masks = sample.masks.repeat_interleave(3, 1)
    return bits * torch.cat([torch.ones_like(bits[:, : features + reach]), masks], 1)


@dataclass(frozen=True)
class Coded(Wrapper):
    """Anchors that take few bits in a file (after HAC, Chen et al., ECCV 2024).

    Numbers of anchors are rounded, by steps that a small context expects to do no harm where an
    anchor lies, and what differs little from what the context expects takes few bits. Offsets that
    draw nothing worth their bits are masked out. Stands after scaffold; export as .anchors.
    """

    rate: Annotated[float, at_least(0)] = 1.2e-3
    """Weight of the bits per number in the loss (1e-3 is published): more makes the file smaller
    and the picture worse."""
    mask_weight: Annotated[float, at_least(0)] = 5e-4
    """Weight of the mean mask in the loss: more takes more offsets out."""
    mask_rate: Annotated[float, within(0, 100, low_open=True)] = 1.0
    """Factor on the learning rate of masks. A fitted schedule multiplies it by up to 4: in a short
    run they must get as far."""
    feature_step: Annotated[float, within(0, 100, low_open=True)] = 0.4
    """What features are rounded to at first; steps adapt up to twice as much, and down."""
    reach_step: Annotated[float, within(0, 100, low_open=True)] = 0.06
    """Quantisation step of log sizes, before the context adapts it."""
    offset_step: Annotated[float, within(0, 100, low_open=True)] = 0.1
    """Quantisation step of offsets, in units of the reach, before the context adapts it."""
    levels: Annotated[int, within(1, 16)] = 6
    """Grids in space that the context reads."""
    planes: Annotated[int, within(0, 16)] = 2
    """Grids on planes that it reads."""
    entries: Annotated[int, within(4, 20)] = 12
    """Binary logarithm of the entries of a grid at most."""
    channels: Annotated[int, within(1, 8)] = 2
    """Signs in an entry."""
    width: Annotated[int, within(1, 256)] = 32
    """Of the context's network."""
    share: Annotated[float, within(0, 1, low_open=True)] = 0.04
    """Share of the anchors of a view whose bits are counted at a step."""
    noise_from: int = 3000
    """Step from which noise of the size of the rounding is added to numbers; anchors are neither
    born nor dropped from then until --pause-until."""
    pause_until: int = 4000
    """Step until which anchors are neither born nor dropped."""
    adapt_from: int = 10_000
    """Step from which steps follow the context, and bits cost."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.noise_from <= self.pause_until <= self.adapt_from:
            raise ValueError(
                f"noise_from is {self.noise_from}, pause_until {self.pause_until} and adapt_from"
                f" {self.adapt_from}; expected them in this order"
            )

    def scheduled(self, steps: int) -> Coded:
        # A mask drifts by its rate times the number of steps, and diffuses by its root.
        faster = min(FASTER, max(1.0, math.sqrt(PUBLISHED_STEPS / steps)))
        return replace(
            self,
            base=self.base.scheduled(steps),
            mask_rate=self.mask_rate * faster,
            noise_from=at(self.noise_from, steps),
            pause_until=at(self.pause_until, steps),
            adapt_from=at(self.adapt_from, steps),
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        found = self.base.acts(steps)
        left = {
            what: [done for done in when if not self._pauses(done)] for what, when in found.items()
        }
        return {what: when for what, when in left.items() if when}

    def objectives(self) -> Mapping[str, Objective]:
        return {**self.base.objectives(), "bits": Bits(self.rate, self.mask_weight)}

    def model(self, rows: Rows, making: Making) -> Model:
        plain = self.base.model(rows, making)
        if not isinstance(plain, Anchored) or isinstance(plain, CodedAnchors):
            raise ValueError(
                "coded is for anchors that are not coded yet, and"
                f" {recipe_name_of(type(self.base))} makes {plain.unit}; put it once after"
                " scaffold: scaffold + coded"
            )
        shape = Shape(
            steps=(self.feature_step, self.reach_step, self.offset_step),
            levels=self.levels,
            planes=self.planes,
            entries=self.entries,
            channels=self.channels,
            hidden=self.width,
        )
        training = Training(self.noise_from, self.adapt_from, self.share, self.mask_rate)
        settings = {**plain.settings, "voxel": plain.voxel}
        return CodedAnchors(rows, making, settings, shape, training)

    def begin(self, model: Model) -> None:
        range_coding.check()  # not only once training is over
        super().begin(model)
        model.cloud.track(STEPS, 3, combine="same")

    def observe(self, step: Step) -> None:
        super().observe(step)
        model, since = step.model.core, step.number - self.adapt_from
        assert isinstance(model, CodedAnchors)
        model.done = step.number + 1
        if since >= 0 and since % REFRESH_EVERY == 0:
            model.refresh()

    def refine(self, step: Step) -> Edit | None:
        return None if self._pauses(step.number + 1) else super().refine(step)

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        if edit is None:
            return None
        model = step.model.core
        assert isinstance(model, CodedAnchors)
        born = tuple(_masked(append, model.slots) for append in edit.append)
        empty = (~model.on).all(1)
        gone = empty.clone()
        for drop in edit.drop:
            gone[drop.rows[drop.rows < len(gone)]] = True
        if bool(gone.all()) and not born:
            return edit  # a scene of nothing could never grow again
        masked = Drop(empty.nonzero().squeeze(1), "masked")
        return replace(edit, append=born, drop=(*edit.drop, masked))

    def _pauses(self, done: int) -> bool:
        return self.noise_from <= done < self.pause_until


def _masked(append: Append, slots: int) -> Append:
    """Rows to be born, with masks that are on."""
    if "mask" in append.rows:
        return append
    masks = append.rows["anchor"].new_full((len(append.parents), slots), MASK_START)
    return replace(append, rows={**append.rows, "mask": masks})
