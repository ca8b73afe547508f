"""Error-based densification, replacement of pruned rows, opacity decay in place of resets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.core import schedule
from splat.core.cloud import Cloud
from splat.core.edit import Edit, Nudge
from splat.core.maps import EdgedError, Error
from splat.core.model import Model
from splat.core.schedule import PUBLISHED_STEPS, at, due, dues
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.math import logit_of
from splat.rules import worst
from splat.rules.births import long_axis_split, moment_split
from splat.rules.deaths import faint, largest, opacity_decay, pruning
from splat.rules.worst import SEEN, WORST
from splat.system.ranges import at_least, within
from splat.types import Needs, PixelMap

LEAST_SCALE, MOST_SCALE = 1e-10, 100.0
"""Least and largest scale, in scene extents, outside which a row is pruned."""
GATE_POWER = 150
"""Noise on a row of opacity o is (1 - o)^150 of the largest."""
LEAST_GATE = 1e-3
"""Share of the noise below which a row gets none, from opacity 0.045 on."""


@dataclass(frozen=True)
class Mrnf(Strategy):
    """Error-based densification, as in Brush and in LichtFeld Studio's MRNF (2025-26).

    At each refinement as many rows are split as were pruned, in proportion to opacity, and a share
    more of those with error; opacity decay and scale decay make rows that no picture needs fade;
    noise is added to the means of nearly transparent rows. There are no papers: numbers are those
    of the two programs. Needs the columns `mean`, `quat`, `log_scale` and `opacity_logit`.

    Differs: error is in pixels at full size, the unit of the programs is not known; noise is
    bounded by the row's own size, not by a median; rows larger than half the picture are
    not split for that; masks of free rows are not needed, a cloud appends and drops.
    """

    undivided = ""
    cap: Annotated[int, at_least(1)] = 1_000_000
    """Most rows the cloud may grow to."""
    grow_error: float = 0.003
    """Error from which a row may be split: the sum over a picture's pixels, at full size, of
    absolute error x blending weight."""
    grow_share: Annotated[float, within(0, 1, note="0.07 is published")] = 0.07
    """Share of the rows above `grow_error` that is split at each refinement (MRNF; Brush 0.25),
    drawn in proportion to error; in a fitted schedule of a short run that of as many refinements as
    each stands for."""
    edge: float = 0.0
    """Edge weight: how much more an error counts on an edge of the photograph (MRNF 0.25; Brush
    0)."""
    children: Literal["long_axis", "moment"] = "long_axis"
    """Kind of split. long_axis: side by side along the parent's longest axis (MRNF); moment: with
    its second moment (Brush)."""
    prune_opacity: Annotated[
        float, within(0, 1, low_open=True, high_open=True, note="1/255 is published")
    ] = 1 / 255
    """Rows below this opacity are pruned: they are drawn in no pixel."""
    opacity_leak: Annotated[float, within(0, 1, high_open=True, note="0.004 is published")] = 0.004
    """Opacity decay: what every row loses at a refinement, at the start; it falls to 0 over the
    run."""
    scale_leak: Annotated[float, within(0, 1, high_open=True, note="0.002 is published")] = 0.002
    """Scale decay: share of its scales that every row loses at a refinement, at the start; it falls
    to 0 over the run."""
    noise: float = 6.0
    """Noise on the means of nearly transparent rows, in learning rates of the mean; 0: none. 50
    published, with an eighth of our rate."""
    noise_every: Annotated[int, at_least(1)] = 8
    """Steps between additions of noise, each larger by the root of it: the same random walk in less
    time. 1 published."""
    grow_until: int = 15_000
    """Step before which the number of rows grows; later as many are split as are pruned."""
    refine_from: int = 500
    """Rows are split and pruned after this step."""
    refine_until: int = 28_500
    """Rows are split and pruned before this step."""
    refine_every: Annotated[int, at_least(1)] = 200
    """Steps between refinements."""
    run_steps: Annotated[int, at_least(1)] = PUBLISHED_STEPS
    """Length of the run, over which decay falls to 0; a fitted schedule sets it."""

    @property
    def map(self) -> PixelMap:
        """The error map of pixels."""
        return EdgedError(self.edge) if self.edge else Error()

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(weights=(self.map,))

    def scheduled(self, steps: int) -> Mrnf:
        merged = schedule.stands_for(self.refine_every, steps)
        return replace(
            self,
            grow_share=schedule.compounded(self.grow_share, merged),
            opacity_leak=min(0.5, self.opacity_leak * merged),
            scale_leak=min(0.5, self.scale_leak * merged),
            grow_until=at(self.grow_until, steps),
            refine_from=at(self.refine_from, steps),
            refine_until=at(self.refine_until, steps),
            refine_every=schedule.every(self.refine_every, steps),
            run_steps=steps,
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        edits = dues(self.refine_from, self.refine_until, self.refine_every, steps)
        acts = {
            "split, prune and leak": [done for done in edits if done < self.grow_until],
            "replace, prune and leak": [done for done in edits if done >= self.grow_until],
        }
        return {act: at_steps for act, at_steps in acts.items() if at_steps}

    def begin(self, model: Model) -> None:
        worst.track(model.cloud)

    def observe(self, step: Step) -> None:
        if step.number + 1 < self.refine_until:
            worst.observe(step, self.map)

    def refine(self, step: Step) -> Edit | None:
        walks = self.noise and step.number % self.noise_every == 0
        edit = self._walk(step) if walks else Edit()
        if due(step.number + 1, self.refine_from, self.refine_until, self.refine_every):
            edit = edit + self._refined(step, step.number + 1)
        return edit if edit != Edit() else None

    def _refined(self, step: Step, done: int) -> Edit:
        cloud = step.model.cloud
        gone = self._gone(cloud, step.extent)
        doomed = torch.stack(list(gone.values())).any(0)
        share = self.grow_share if done < self.grow_until else 0
        parents = worst.parents(step, doomed, cap=self.cap, above=self.grow_error, share=share)
        split = moment_split if self.children == "moment" else long_axis_split
        grown = split(cloud, parents)
        left = max(1 - done / self.run_steps, 0.0)
        return (
            grown
            + pruning(len(cloud) + 2 * len(parents), gone, grown)
            + opacity_decay(cloud, self.opacity_leak * left, self.scale_leak * left)
            + Edit(clear=(WORST, SEEN))
        )

    def _gone(self, cloud: Cloud, extent: float) -> dict[str, Bool[Tensor, "n"]]:
        columns = [cloud[name].detach()[:, None].flatten(1) for name in cloud.names]
        # Columns may be kept away from the device that trains.
        finite = torch.stack([c.isfinite().all(1).to(cloud.device) for c in columns]).all(0)
        size = largest(cloud["log_scale"])
        smallest = cloud["log_scale"].detach().amin(1)
        sound = (smallest > math.log(LEAST_SCALE * extent)) & (size < math.log(MOST_SCALE * extent))
        turned = cloud["quat"].detach().norm(dim=1) > 0
        return {"opacity": faint(cloud, self.prune_opacity), "broken": ~(finite & sound & turned)}

    def _walk(self, step: Step) -> Edit:
        """Noise on the means of nearly dead rows in sight, never farther than their own size."""
        cloud = step.model.cloud
        quiet = logit_of(1 - LEAST_GATE ** (1 / GATE_POWER))
        logit = cloud["opacity_logit"].detach()
        rows = (logit < quiet).nonzero().squeeze(1)
        rows = rows[step.rows_in_sight.index_select(0, rows)]
        if not len(rows):
            return Edit()
        draw = torch.randn(len(rows), 3, generator=step.generator("walk"), device=logit.device)
        gate = logit.index_select(0, rows).neg().sigmoid().pow(GATE_POWER)
        reach = self.noise * cloud.rate("mean", step.number) * math.sqrt(self.noise_every)
        size = largest(cloud["log_scale"]).index_select(0, rows).exp()[:, None]
        moves = (draw * (gate * reach)[:, None]).clamp(-size, size)
        delta = torch.zeros_like(cloud["mean"].detach()).index_copy_(0, rows, moves)
        return Edit(nudge=(Nudge("mean", delta),))
