"""Error-based densification, with opacity decay in place of opacity resets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from jaxtyping import Bool
from torch import Tensor

from splat.core import schedule
from splat.core.cloud import Cloud
from splat.core.edit import Edit
from splat.core.maps import Dissimilarity, Error
from splat.core.model import Model
from splat.core.schedule import at, due, dues
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.rules import worst
from splat.rules.births import cloned_or_split
from splat.rules.curve import room
from splat.rules.deaths import faint, largest, opacity_decay, pruning
from splat.rules.select import select
from splat.rules.worst import WORST
from splat.system.ranges import above, at_least, within
from splat.types import Needs, PixelMap


@dataclass(frozen=True)
class ErrorBased(Strategy):
    """Error-based densification (Revising Densification, Rota Bulo et al., ECCV 2024).

    The rows with most error in a picture, max over pictures of the sum of error x blending weight,
    are cloned if small, split in two if large, a share of the rows at a time. A clone and its
    parent compose to what the parent was; opacity decay (all rows lose a little at each refinement)
    takes the place of opacity resets. Needs the columns `mean`, `quat`, `log_scale` and
    `opacity_logit`.

    Differs: the maximum is over the pictures of the window, in the training pass; error is
    absolute by default, the paper's structural similarity (`--error ssim`) costs a good part of a
    step on a CPU.
    """

    known_as = "error"
    undivided = ""
    cap: Annotated[int, at_least(1)] = 1_000_000
    """Most rows the cloud may grow to."""
    error: Literal["l1", "ssim"] = "l1"
    """What makes a pixel wrong: absolute difference, or structural dissimilarity (the paper)."""
    grow_error: float = 0.1
    """Error from which a row may be cloned or split: sum over a picture of error x blending weight,
    in pixels at full size."""
    grow_share: Annotated[float, within(0, 1, note="0.05 is published")] = 0.05
    """Rows to add at a refinement at most, as a share of those there are; in a fitted schedule of
    a short run that of as many refinements as each stands for."""
    dense_share: Annotated[float, above(0, note="0.01 is published")] = 0.01
    """Largest scale up to which a row is cloned and above which it is split, scene extents."""
    revised_clone: bool = True
    """Revised opacity of clones: a clone and its parent compose to the parent's."""
    revised_split: bool = False
    """Revised opacity of splits: the two children would, in one place, compose to the parent's."""
    prune_opacity: float = 0.005
    """Rows below this opacity are pruned."""
    opacity_leak: Annotated[float, within(0, 1, high_open=True, note="0.001 is published")] = 0.001
    """Opacity decay: what every row loses at a refinement; in a fitted schedule of a short run that
    of as many refinements as each stands for."""
    refine_from: int = 500
    """Rows grow and are pruned after this step."""
    refine_until: int = 27_000
    """Rows grow and are pruned before this step."""
    refine_every: Annotated[int, at_least(1)] = 100
    """Steps between refinements."""

    @property
    def map(self) -> PixelMap:
        """The error map of pixels."""
        return Error() if self.error == "l1" else Dissimilarity()

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(weights=(self.map,))

    def scheduled(self, steps: int) -> ErrorBased:
        merged = schedule.stands_for(self.refine_every, steps)
        return replace(
            self,
            grow_share=schedule.compounded(self.grow_share, merged),
            opacity_leak=min(0.5, self.opacity_leak * merged),
            refine_from=at(self.refine_from, steps),
            refine_until=at(self.refine_until, steps),
            refine_every=schedule.every(self.refine_every, steps),
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        edits = dues(self.refine_from, self.refine_until, self.refine_every, steps)
        return {"grow, prune and leak": edits} if edits else {}

    def begin(self, model: Model) -> None:
        model.cloud.track(WORST, combine="max")

    def observe(self, step: Step) -> None:
        if step.number + 1 < self.refine_until:
            worst.observe(step, self.map, seen=False)

    def refine(self, step: Step) -> Edit | None:
        if not due(step.number + 1, self.refine_from, self.refine_until, self.refine_every):
            return None
        cloud = step.model.cloud
        gone = {"opacity": faint(cloud, self.prune_opacity)}
        grown = cloned_or_split(
            cloud,
            self._grows(cloud, gone["opacity"]),
            largest(cloud["log_scale"]) > math.log(self.dense_share * step.extent),
            step.generator("split"),
            self.revised_clone,
            self.revised_split,
        )
        rows = len(cloud) + sum(len(append.parents) for append in grown.append)
        return (
            grown
            + pruning(rows, gone, grown)
            + opacity_decay(cloud, self.opacity_leak)
            + Edit(clear=(WORST,))
        )

    def _grows(self, cloud: Cloud, doomed: Bool[Tensor, "n"]) -> Bool[Tensor, "n"]:
        """The rows with most error, no more than a share of all and than there is room for."""
        error = cloud.statistic(WORST)
        score = error.where((error > self.grow_error) & ~doomed, 0)
        shard = cloud.shard
        n, gone = shard.total(len(cloud)), shard.total(int(doomed.sum()))
        most = min(math.ceil(self.grow_share * n), room(n, gone, self.cap))
        rows = select(score, most, shard=shard)
        return doomed.new_zeros(len(doomed)).index_fill_(0, rows, True)
