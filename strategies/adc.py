"""Adaptive density control: 3DGS' clone, split, prune and opacity reset, and their variants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import Edit
from splat.core.model import Model
from splat.core.schedule import (
    at,
    due,
    dues,
    every,
    full_by,
    refinements_left,
    resets_end,
    resets_every,
)
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.math import logit_of
from splat.rules import window
from splat.rules.births import cloned_or_split
from splat.rules.deaths import faint, largest, opacity_reset, pruning
from splat.rules.window import WINDOW, mean_screen_gradient
from splat.system.ranges import above, at_least, within
from splat.types import Camera, Needs

BEFORE = "before_scene"
"""Statistic: 1 where a camera saw the row before all real surfaces (a floater), else 0."""
RADIUS = "radius_px"
"""Statistic: largest radius on screen, pixels at full size; only where a rule asks for it."""


@dataclass(frozen=True)
class Adc(Strategy):
    """Adaptive density control (3DGS, Kerbl et al. 2023): clone, split, prune, opacity reset.

    Rows with a large mean screen-space gradient are cloned if small, split in two if large; faint
    and oversized rows are pruned; opacity is reset now and then. Numbers are those of the released
    code. Needs the columns `mean`, `quat`, `log_scale` and `opacity_logit`; others are copied.
    """

    undivided = ""
    cap: Annotated[int, at_least(0)] = 0
    """Most rows to grow to, 0 for no limit. Where it binds, those that grow are drawn evenly from
    the rows above the threshold; the largest gradients first gave less on real scenes."""
    full_by: int = 0
    """Step by which the cap may be reached, in equal parts from one refinement to the next; 0: any
    time. A fitted schedule with a cap sets it to 60 % of the way from start to end of growth; full
    within the first refinements, a cloud ended worse."""
    absgrad: bool = False
    """Sum absolute screen-space gradients over pixels, so that opposite ones do not cancel (AbsGS,
    2024)."""
    grow_gradient: float | None = None
    """Mean screen-space gradient from which a row is cloned or split, in half pictures. None: 2e-4
    (3DGS), with absgrad 6e-4 (gsplat's documentation)."""
    dense_share: Annotated[float, above(0, note="0.01 is published")] = 0.01
    """Largest scale up to which a row is cloned and above which it is split, scene extents."""
    revised_clone: bool = False
    """Revised opacity of clones: a clone and its parent compose to the parent's (Rota Bulo et al.
    2024)."""
    revised_split: bool = False
    """Revised opacity of splits: the two children would, in one place, compose to the parent's
    (gsplat)."""
    prune_opacity: Annotated[float, within(0, 1, high_open=True, note="0.005 is published")] = 0.005
    """Rows below this opacity are pruned."""
    prune_share: Annotated[float | None, at_least(0)] = None
    """Rows with a scale above this are pruned after `reset_every` steps, scene extents; 0: none.
    None: 0.1 (3DGS), with a cap 0, which mostly ended better at few rows."""
    prune_before_scene: bool = True
    """Prune floaters: rows that a camera sees nearer than half the depth of the nearest points it
    sees (`Camera.clear_depth`). Not in 3DGS."""
    screen_rule: bool = False
    """Prune rows that were large on screen, too, after `reset_every` steps. In 3DGS' released code
    this rule never acts; where it does, it removes too much."""
    screen_limit_px: float = 20.0
    """Radius that is large for `screen_rule`, pixels at full size."""
    split_screen_px: float = 0.0
    """Radius above which a row is split whatever its gradient, pixels at full size; 0: never
    (3DGS)."""
    reset_every: Annotated[int, at_least(0)] = 3000
    """Steps between opacity resets; 0: never."""
    reset_until: int = 15_000
    """Opacity is reset before this step only; a fitted schedule spares the last 15 % of a run."""
    reset_opacity: Annotated[
        float, within(0, 1, low_open=True, high_open=True, note="0.01 is published")
    ] = 0.01
    """Opacity that no row exceeds after a reset."""
    white_background: bool = False
    """Reset opacity at `refine_from` too, as 3DGS does for scenes on white."""
    pause_after_reset: int = 0
    """Steps after a reset without growing and pruning (gsplat; 0 in 3DGS)."""
    refine_from: int = 500
    """Rows grow and are pruned after this step."""
    refine_until: int = 15_000
    """Rows grow and are pruned before this step."""
    refine_every: Annotated[int, at_least(1)] = 100
    """Steps between refinements."""

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(absolute_gradient=self.absgrad)

    @property
    def resets(self) -> bool:  # type: ignore[override]
        return self.reset_every > 0

    @property
    def threshold(self) -> float:
        """Mean screen-space gradient from which a row is cloned or split."""
        if self.grow_gradient is not None:
            return self.grow_gradient
        return 6e-4 if self.absgrad else 2e-4

    @property
    def oversized(self) -> float:
        """Scale above which a row is pruned, scene extents; 0: none is."""
        if self.prune_share is not None:
            return self.prune_share
        return 0.0 if self.cap else 0.1

    def scheduled(self, steps: int) -> Adc:
        start, stop = at(self.refine_from, steps), at(self.refine_until, steps)
        return replace(
            self,
            reset_every=resets_every(self.reset_every, steps),
            reset_until=min(at(self.reset_until, steps), resets_end(steps)),
            pause_after_reset=at(self.pause_after_reset, steps),
            refine_from=start,
            refine_until=stop,
            refine_every=every(self.refine_every, steps),
            full_by=self._full_by(steps, start, stop),
        )

    def edit_steps(self, steps: int) -> list[int]:
        """Steps (counted as done) of a run after which rows grow and are pruned."""
        steps_due = dues(self.refine_from, self.refine_until, self.refine_every, steps)
        return [done for done in steps_due if not self._paused(done)]

    def reset_steps(self, steps: int) -> list[int]:
        """Steps (counted as done) of a run after which opacity is reset."""
        return [done for done in range(1, steps + 1) if self._resets(done)]

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        acts = {"grow and prune": self.edit_steps(steps), "reset opacity": self.reset_steps(steps)}
        return {act: done for act, done in acts.items() if done}

    def begin(self, model: Model) -> None:
        window.track(model.cloud)
        if self.prune_before_scene:
            model.cloud.track(BEFORE, combine="max")
        if self._watches_radius:
            model.cloud.track(RADIUS, combine="max")

    def observe(self, step: Step) -> None:
        if step.number + 1 >= self.refine_until:
            return
        cloud, rendered, rows = step.model.cloud, step.rendered, window.rows_of(step)
        if self.prune_before_scene and step.batch.camera.clear_depth:
            before = _before_scene(rendered.gaussians.means.detach(), step.batch.camera)
            before = before if rows is None else rows.index_select(0, before)
            cloud.statistic(BEFORE).index_fill_(0, before, 1)
        window.observe(step, self.absgrad)
        if self._watches_radius:
            radii = rendered.radii * step.batch.shrink
            window.raise_to(cloud.statistic(RADIUS), rows, radii)

    def refine(self, step: Step) -> Edit | None:
        done = step.number + 1
        edit = None
        refines = due(done, self.refine_from, self.refine_until, self.refine_every)
        if refines and not self._paused(done):
            edit = self._refined(step, done)
        if self._resets(done):
            edit = opacity_reset(step.model.cloud, edit or Edit(), self.reset_opacity)
        return edit

    @property
    def _watches_radius(self) -> bool:
        return self.screen_rule or self.split_screen_px > 0

    def _full_by(self, steps: int, start: int, stop: int) -> int:
        if not self.cap:
            return 0
        return at(self.full_by, steps) if self.full_by else full_by(start, stop)

    def _resets(self, done: int) -> bool:
        regular = self.reset_every > 0 and done % self.reset_every == 0
        return done < self.reset_until and (
            regular or (self.white_background and done == self.refine_from)
        )

    def _paused(self, done: int) -> bool:
        if not self.pause_after_reset:
            return False
        since = range(done - 1, max(done - self.pause_after_reset, 0), -1)
        return any(self._resets(past) for past in since)

    def _refined(self, step: Step, done: int) -> Edit:
        cloud = step.model.cloud
        large = largest(cloud["log_scale"]) > math.log(self.dense_share * step.extent)
        grows, splits = self._candidates(cloud, done, step.generator("grow"))
        grown = cloned_or_split(
            cloud,
            grows,
            large | splits,
            step.generator("split"),
            self.revised_clone,
            self.revised_split,
        )
        return grown + self._pruned(cloud, grown, step.extent, done) + Edit(clear=self._window)

    @property
    def _window(self) -> tuple[str, ...]:
        """Statistics that are zeroed with each refinement."""
        before = (BEFORE,) if self.prune_before_scene else ()
        return (*WINDOW, *before) + ((RADIUS,) if self._watches_radius else ())

    def _candidates(
        self, cloud: Cloud, done: int, generator: torch.Generator
    ) -> tuple[Bool[Tensor, "n"], Bool[Tensor, "n"]]:
        """Rows to clone or split, and those to split for their size on screen."""
        gradient = mean_screen_gradient(cloud)
        splits = torch.zeros_like(gradient, dtype=torch.bool)
        if self.split_screen_px > 0:
            splits = cloud.statistic(RADIUS) > self.split_screen_px
        # Copies of a faint row would be faint and removed in this very edit.
        doomed = faint(cloud, self.prune_opacity)
        if self.prune_before_scene:
            doomed = doomed | (cloud.statistic(BEFORE) > 0)
        grows = ((gradient >= self.threshold) | splits) & ~doomed
        wanting, shard = grows.nonzero().squeeze(1), cloud.shard
        if not self.cap:
            return grows, splits
        room = self._room(shard.total(len(cloud) - int(doomed.sum())), done)
        if shard.total(len(wanting)) > room:
            draw = torch.rand(len(wanting), generator=generator, device=cloud.device)
            grows = torch.zeros_like(grows)
            grows[wanting[shard.lowest(draw, room)]] = True
        return grows, splits

    def _room(self, rows: int, done: int) -> int:
        """How many rows the refinement at step `done` may add to `rows`. Clones and splits add
        one each."""
        left = refinements_left(done, min(self.full_by, self.refine_until - 1), self.refine_every)
        return max(math.ceil((self.cap - rows) / max(left, 1)), 0)

    def _pruned(self, cloud: Cloud, grown: Edit, extent: float, done: int) -> Edit:
        """Pruning of old and newborn rows, with the opacity and scale that growth gives them."""
        opacity = cloud["opacity_logit"].detach()
        for assign in grown.assign:
            opacity = opacity.index_copy(0, assign.index, assign.rows["opacity_logit"])
        opacity = torch.cat([opacity, *(append.rows["opacity_logit"] for append in grown.append)])
        gone = {"opacity": opacity < logit_of(self.prune_opacity)}
        if self.prune_before_scene:
            gone["before_scene"] = cloud.statistic(BEFORE) > 0
        if done > self.reset_every:
            if self.oversized:
                old, born = cloud["log_scale"], [a.rows["log_scale"] for a in grown.append]
                sizes = torch.cat([largest(scale) for scale in (old, *born)])
                gone["size"] = sizes > math.log(self.oversized * extent)
            if self.screen_rule:
                seen = cloud.statistic(RADIUS)
                unseen = seen.new_zeros(len(opacity) - len(seen))
                gone["screen"] = torch.cat([seen, unseen]) > self.screen_limit_px
        return pruning(len(opacity), gone, grown)


def _before_scene(means: Float[Tensor, "n 3"], camera: Camera) -> Int[Tensor, "m"]:
    """Points in a camera's picture that are nearer than anything real (`Camera.clear_depth`)."""
    pose = camera.world_to_camera
    depth = means @ pose[2, :3] + pose[2, 3]
    near = ((depth > 0) & (depth < camera.clear_depth)).nonzero().squeeze(1)
    return near[~camera.depths(means.index_select(0, near)).isnan()]
