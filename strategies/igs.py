"""Edge-aware long-axis splits up to a budget curve, and recovery-aware pruning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import Edit
from splat.core.maps import Edge
from splat.core.model import Model
from splat.core.schedule import at, due, dues, every, resets_end, resets_every
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.rules import window
from splat.rules.births import long_axis_split
from splat.rules.curve import Curve, room, share, target
from splat.rules.deaths import faint, opacity_reset, pruning
from splat.rules.select import select
from splat.rules.window import WINDOW, mean_screen_gradient
from splat.system.ranges import at_least, within
from splat.types import Needs

EDGES = "edge_score"
"""Statistic: sum over the window's pictures of edges x blending weight, each in units of the mean
over the rows that the picture shows any edge of."""


@dataclass(frozen=True)
class ImprovedGs(Strategy):
    """Improved-GS (Deng et al. 2025): long-axis splits along edges, up to a budget curve.

    Rows with a large mean absolute screen-space gradient are candidates; those that contribute most
    to the photographs' edges are split until the curve is met. Recovery-aware pruning: some steps
    after each of the first opacity resets, the share of rows that recovered least is pruned. Needs
    the columns `mean`, `quat`, `log_scale` and `opacity_logit`.

    Differs: edges are Sobel's and are summed over the pictures of the window itself, in the
    training pass; the rarer steps of the optimizer and the learning rates belong to the trainer
    and are left out.
    """

    known_as = "igs"
    cap: Annotated[int, at_least(1)] = 3_000_000
    """Rows at the end of the curve, and the most there ever are."""
    curve: Curve = "sqrt"
    """How the number of rows rises: sqrt (Improved-GS), parabola (LichtFeld Studio's IGS+) or
    linear."""
    grow_gradient: float = 3e-4
    """Mean absolute screen-space gradient from which a row is a candidate, in half pictures."""
    prune_opacity: float = 0.005
    """Rows below this opacity are pruned at each refinement."""
    early_at: int = 300
    """Step after which faint rows are pruned once, before any growth; 0: never."""
    early_opacity: float = 0.02
    """Opacity below which rows are pruned at `early_at`."""
    recover_after: int = 300
    """Recovery-aware pruning: steps after an opacity reset at which rows are judged."""
    recover_share: Annotated[float, within(0, 1, high_open=True, note="0.2 is published")] = 0.2
    """Share of rows, those of the lowest opacity, that is pruned when they are judged; 0: none."""
    recover_until: int = 9000
    """Recovery is judged before this step only: after the first two resets (3,300 and 6,300)."""
    reset_every: Annotated[int, at_least(0)] = 3000
    """Steps between opacity resets; 0: never."""
    reset_until: int = 15_000
    """Opacity is reset before this step only; a fitted schedule spares the last 15 % of a run."""
    reset_opacity: Annotated[
        float, within(0, 1, low_open=True, high_open=True, note="0.05 is published")
    ] = 0.05
    """Opacity that no row exceeds after a reset."""
    refine_from: int = 500
    """Rows are split and pruned after this step."""
    refine_until: int = 15_000
    """Rows are split and pruned before this step."""
    refine_every: Annotated[int, at_least(1)] = 100
    """Steps between refinements."""

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(absolute_gradient=True, weights=(Edge(),))

    @property
    def resets(self) -> bool:  # type: ignore[override]
        return self.reset_every > 0

    def scheduled(self, steps: int) -> ImprovedGs:
        return replace(
            self,
            early_at=at(self.early_at, steps),
            recover_after=every(self.recover_after, steps),
            recover_until=at(self.recover_until, steps),
            reset_every=resets_every(self.reset_every, steps),
            reset_until=min(at(self.reset_until, steps), resets_end(steps)),
            refine_from=at(self.refine_from, steps),
            refine_until=at(self.refine_until, steps),
            refine_every=every(self.refine_every, steps),
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        done = range(1, steps + 1)
        acts = {
            "split and prune": dues(self.refine_from, self.refine_until, self.refine_every, steps),
            "prune faint rows": [step for step in done if step == self.early_at],
            "prune what recovered least": [step for step in done if self._judges(step)],
            "reset opacity": [step for step in done if self._resets(step)],
        }
        return {act: at_steps for act, at_steps in acts.items() if at_steps}

    def begin(self, model: Model) -> None:
        window.track(model.cloud)
        model.cloud.track(EDGES, combine="sum")

    def observe(self, step: Step) -> None:
        if step.number + 1 >= self.refine_until:
            return
        window.observe(step, absolute=True)
        edges = step.rendered.weighted(Edge())
        mean = edges.sum() / (edges > 0).sum().clamp_min(1)
        scored = edges / mean.clamp_min(torch.finfo(edges.dtype).tiny)
        window.add(step.model.cloud.statistic(EDGES), window.rows_of(step), scored)

    def refine(self, step: Step) -> Edit | None:
        done, cloud, edit = step.number + 1, step.model.cloud, None
        grows = due(done, self.refine_from, self.refine_until, self.refine_every)
        gone = self._gone(cloud, done, grows)
        if gone:
            doomed = torch.stack(list(gone.values())).any(0)
            grown, rows = Edit(), len(cloud)
            if grows:
                grown = long_axis_split(cloud, self._parents(cloud, doomed, done))
                rows += len(grown.append[0].parents)
                grown = grown + Edit(clear=(*WINDOW, EDGES))
            edit = grown + pruning(rows, gone, grown)
        if self._resets(done):
            edit = opacity_reset(cloud, edit or Edit(), self.reset_opacity)
        return edit

    def _resets(self, done: int) -> bool:
        return self.reset_every > 0 and due(done, 0, self.reset_until, self.reset_every)

    def _judges(self, done: int) -> bool:
        return (
            self.recover_share > 0
            and done < self.recover_until
            and self._resets(done - self.recover_after)
        )

    def _gone(self, cloud: Cloud, done: int, grows: bool) -> dict[str, Bool[Tensor, "n"]]:
        """Rows to prune at this step, by reason."""
        gone = {}
        if grows:
            gone["opacity"] = faint(cloud, self.prune_opacity)
        if done == self.early_at:
            gone["early"] = faint(cloud, self.early_opacity)
        if self._judges(done):
            opacity = cloud["opacity_logit"].detach()
            least = opacity.argsort(stable=True)[: int(self.recover_share * len(cloud))]
            gone["recovery"] = torch.zeros_like(opacity, dtype=torch.bool)
            gone["recovery"].index_fill_(0, least, True)
        return gone

    def _parents(self, cloud: Cloud, doomed: Bool[Tensor, "n"], done: int) -> Int[Tensor, "p"]:
        """The candidates that contribute most to edges, as many as the curve has room for."""
        u = share(done, self.refine_from, self.refine_until, self.refine_every)
        most = target(self.curve, cloud.began, self.cap, u)
        candidates = (mean_screen_gradient(cloud) >= self.grow_gradient) & ~doomed
        score = cloud.statistic(EDGES).where(candidates, 0)
        return select(score, room(len(cloud), int(doomed.sum()), most))
