"""Scaffold-GS' density control: anchors grow on three grids and are pruned by their opacity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.core.edit import Drop, Edit, Nudge, Rows, Zero
from splat.core.model import Making, Model
from splat.core.objective import Objective
from splat.core.schedule import at, due, dues, every
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.strategies.scaffold.anchors import Anchored, drawn_of
from splat.strategies.scaffold.growth import Pull, grown, levels
from splat.strategies.scaffold.guide import Guide
from splat.strategies.scaffold.volume import Volume
from splat.system.ranges import at_least, within

OPACITY, VISITS = "anchor_opacity", "anchor_visits"
"""Statistics of an anchor: opacity summed over its Gaussians and visits, and its visits: steps
whose camera had it in its frustum."""
GRADIENT, SEEN = "offset_gradient", "offset_views"
"""Statistics of an offset: length of the screen gradient, summed over the steps in which it made a
visible Gaussian, and those steps."""
LARGEST = 0.05
"""Log size that the Gaussians of an anchor are kept below, frame of training (released code)."""


@dataclass(frozen=True)
class Scaffold(Strategy):
    """Anchors on a grid, whose networks make the Gaussians of each view (Lu et al., CVPR 2024).

    Where the picture pulls hard at the Gaussians of an offset, an anchor is born in the cell that
    they lie in, if it has none; anchors that were seen often and stayed faint are dropped. Numbers
    are those of the paper and of the released code. Rows are anchors: `cap` and budgets of rows
    count these, each of which makes up to `slots` Gaussians.
    """

    handles = "anchors"
    cap: Annotated[int, at_least(0)] = 0
    """Most anchors, 0 for no limit. Where it binds, the cells of the largest gradient get one."""
    slots: Annotated[int, within(1, 16)] = 10
    """Gaussians that an anchor makes at most."""
    features: Annotated[int, within(1, 64)] = 32
    """Numbers of an anchor's feature."""
    hidden: Annotated[int, within(1, 64)] = 32
    """Width of the networks; a multiple of 16."""
    voxel: Annotated[float, at_least(0)] = 0.0
    """Side of the finest cells, units of the scene; 0: the median distance between neighbours of
    the points that the run starts from, or what a pixel covers where it starts at random."""
    distance: bool = False
    """The networks also read how far the camera is (as the paper has it; off in released code)."""
    codes: Annotated[int, at_least(0)] = 0
    """Numbers of a code for each photo that its colours may depend on; 0: none, 32 is published.
    Pictures of other cameras take the mean."""
    grow_gradient: float = 2e-4
    """Mean screen gradient from which an offset grows on the coarsest grid, in half pictures; twice
    as much on each finer one."""
    coarsest: Annotated[int, at_least(1)] = 16
    """Cells of the coarsest grid, in finest ones along a side."""
    finer: Annotated[int, at_least(1)] = 4
    """How many times smaller the cells of the next grid are."""
    grids: Annotated[int, within(1, 8)] = 3
    """Grids on which anchors grow."""
    prune_opacity: float = 0.005
    """Anchors whose opacity, summed over their Gaussians, is below this in the mean are dropped."""
    seen_share: Annotated[float, within(0, 1, low_open=True)] = 0.8
    """Share of the steps between refinements in which an anchor must be in sight before it is
    judged; half of it for an offset."""
    volume_weight: float = 0.01
    """Weight of the mean volume of Gaussians in the loss."""
    observe_from: int = 500
    """Step from which statistics are gathered."""
    refine_from: int = 1500
    """Anchors are born and dropped after this step."""
    refine_until: int = 15_000
    """Anchors are born and dropped before this step."""
    refine_every: Annotated[int, at_least(1)] = 100
    """Steps between refinements."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % 16:
            raise ValueError(f"hidden is {self.hidden}, expected 16, 32, 48 or 64")

    @property
    def draws(self) -> int:  # type: ignore[override]
        return drawn_of(self.slots)

    @property
    def row_bytes(self) -> int:  # type: ignore[override]
        return 4 * (3 + self.features + 6 + 3 * self.slots)

    def scheduled(self, steps: int) -> Scaffold:
        return replace(
            self,
            observe_from=at(self.observe_from, steps),
            refine_from=at(self.refine_from, steps),
            refine_until=at(self.refine_until, steps),
            refine_every=every(self.refine_every, steps),
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        when = dues(self.refine_from, self.refine_until, self.refine_every, steps)
        return {"grow and prune": when} if when else {}

    def objectives(self) -> Mapping[str, Objective]:
        return {"volume": Volume(self.volume_weight)} if self.volume_weight else {}

    def model(self, rows: Rows, making: Making) -> Model:
        return Anchored(
            rows,
            making,
            slots=self.slots,
            features=self.features,
            hidden=self.hidden,
            voxel=self.voxel * making.frame.scale,
            distance=self.distance,
            codes=self.codes,
        )

    def begin(self, model: Model) -> None:
        for name in (OPACITY, VISITS):
            model.cloud.track(name, combine="sum")
        for name in (GRADIENT, SEEN):
            model.cloud.track(name, self.slots, combine="sum")

    def observe(self, step: Step) -> None:
        if not self.observe_from < step.number + 1 < self.refine_until:
            return
        cloud, rendered = step.model.cloud, step.rendered
        slot = rendered.gaussians.source
        assert slot is not None
        opacity = rendered.gaussians.opacities.detach()
        cloud.statistic(OPACITY).index_add_(0, slot // self.slots, opacity)
        looked = step.model.rows_for(step.batch.camera)
        cloud.statistic(VISITS).index_add_(0, looked, torch.ones_like(looked, dtype=torch.float32))
        visible = rendered.visible.float()
        x, y = rendered.screen_gradient().unbind(1)
        length = x.square().addcmul_(y, y).sqrt_().mul_(visible)
        cloud.statistic(GRADIENT).view(-1).index_add_(0, slot, length)
        cloud.statistic(SEEN).view(-1).index_add_(0, slot, visible)

    def refine(self, step: Step) -> Edit | None:
        return self.guided(step, None)

    def guided(self, step: Step, guide: Guide | None) -> Edit | None:
        """What `refine` proposes, with a guide's say in it."""
        done = step.number + 1
        if not due(done, self.refine_from, self.refine_until, self.refine_every):
            return None
        cloud = step.model.cloud
        photos = self.refine_every * cloud.scaling.photos
        ready = cloud.statistic(SEEN) > 0.5 * self.seen_share * photos
        judged = cloud.statistic(VISITS) > self.seen_share * photos
        dropped = judged & self._faint(step, guide)
        pull = self._pull(step, ready, guide)
        room = None if not self.cap else self.cap - len(cloud) + int(dropped.sum())
        chances = torch.rand(
            self.grids, *ready.shape, generator=step.generator("grow"), device=cloud.device
        )
        grids = levels(step.model.voxel, self.grow_gradient, self.grids, self.coarsest, self.finer)
        born = grown(pull, grids, chances, room)
        if not born and bool(dropped.all()):
            dropped = torch.zeros_like(dropped)  # a scene of nothing could never grow again
        return Edit(
            nudge=self._clamped(step),
            append=born,
            drop=(Drop(dropped.nonzero().squeeze(1), "opacity"),),
            zero=(
                *(Zero(name, ready) for name in (GRADIENT, SEEN)),
                *(Zero(name, judged) for name in (OPACITY, VISITS)),
            ),
        )

    def _faint(self, step: Step, guide: Guide | None) -> Bool[Tensor, "n"]:
        cloud = step.model.cloud
        opacity, visits = cloud.statistic(OPACITY), cloud.statistic(VISITS)
        faint = opacity < self.prune_opacity * visits
        if guide is not None:
            faint = faint | guide.unwanted(step, opacity, visits, self.prune_opacity)
        return faint

    def _pull(self, step: Step, ready: Bool[Tensor, "n k"], guide: Guide | None) -> Pull:
        cloud = step.model.cloud
        anchors = cloud["anchor"].detach()
        reach = cloud["reach"].detach()[:, None, :3].exp()
        points = anchors[:, None] + cloud["offset"].detach() * reach
        gradient = cloud.statistic(GRADIENT) / cloud.statistic(SEEN).clamp_min(1)
        if guide is not None:
            asked = ready.flatten().nonzero().squeeze(1)
            more = guide.wanted(step, points.flatten(0, 1).index_select(0, asked))
            gradient.view(-1).index_add_(0, asked, more)
        return Pull(anchors, points, cloud["feature"].detach(), gradient, ready)

    def _clamped(self, step: Step) -> tuple[Nudge, ...]:
        """Sizes of Gaussians back to the largest that they may have."""
        reach = step.model.cloud["reach"].detach()
        over = (reach - LARGEST).clamp_min(0)
        over[:, :3] = 0
        return (Nudge("reach", -over),) if bool((over > 0).any()) else ()
