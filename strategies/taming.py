"""Score-based densification over several views, up to a budget curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.core.edit import Edit
from splat.core.maps import Salience
from splat.core.model import Model
from splat.core.objective import Photometric
from splat.core.schedule import at, due, dues, every, resets_end, resets_every
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.rules import window
from splat.rules.births import cloned_or_split
from splat.rules.curve import Curve, room, share, target
from splat.rules.deaths import faint, largest, opacity_reset, pruning
from splat.rules.select import select
from splat.rules.views import VIEWS_SHARE, random_views
from splat.rules.window import WINDOW, mean_screen_gradient
from splat.system.ranges import above, at_least, check_fields, within
from splat.types import Surveyed

LEAST_SCORE = 1e-6
"""Added to a score before its inverse is the weight of a draw; rows of score 0 go first."""


@dataclass(frozen=True)
class Terms:
    """Weights of the terms of a row's score (Taming 3DGS, the released numbers)."""

    gradient: Annotated[float, at_least(0)] = 25.0
    """Weight of the mean screen-space gradient of the window."""
    opacity: Annotated[float, at_least(0)] = 100.0
    """Weight of the opacity."""
    depth: Annotated[float, at_least(0)] = 5.0
    """Weight of the depth: distance from the camera, along its axis."""
    radius: Annotated[float, at_least(0)] = 10.0
    """Weight of the half extent on the screen."""
    volume: Annotated[float, at_least(0)] = 25.0
    """Weight of the volume: product of the three scales."""
    distance: Annotated[float, at_least(0)] = 50.0
    """Weight of the distances of the pixels hit from the row's centre, summed."""
    salience: Annotated[float, at_least(0)] = 10.0
    """Weight of the error and edges of the photograph x blending weight, summed
    (`core.maps.Salience`)."""
    pixels: Annotated[float, at_least(0)] = 0.1
    """Weight of the number of pixels hit."""
    blend: Annotated[float, at_least(0)] = 50.0
    """Weight of the contribution: blending weight, summed."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Taming(Strategy):
    """Taming 3DGS (Mallick et al. 2024): densification by a score of nine terms to a budget.

    Rows with a large mean screen-space gradient are candidates, cloned if small and split if large,
    each kind in proportion to its candidates; which of them is drawn in proportion to a score. In
    every view a term counts in units of its median over the rows in sight, and a view as its loss.
    Of the rows that 3DGS would prune half go, mostly those of a low score. Needs the columns
    `mean`, `quat`, `log_scale` and `opacity_logit`.

    Differs: distances of pixels from a centre are taken as a disc's, pixels x radius; activations
    and rates that the paper changes belong to the trainer and are left out (`--adam visible` and
    `--harmonics-every` are its other savings).
    """

    undivided = "it scores all of them in surveys of whole pictures"
    cap: Annotated[int, at_least(1)] = 1_000_000
    """Rows at the end of the curve, and the most there ever are."""
    curve: Curve = "parabola"
    """How the number of rows rises: parabola (eq. 2 of the paper), linear or sqrt."""
    views: Annotated[int, at_least(0)] = 10
    """Training views that are scored at each refinement, drawn anew; 0: all. A fitted schedule
    scores no more than cost a 20th of the growth phase."""
    terms: Terms = field(default_factory=Terms)
    grow_gradient: float = 2e-4
    """Mean screen-space gradient from which a row is a candidate, in half pictures."""
    dense_share: Annotated[float, above(0, note="0.01 is published")] = 0.01
    """Largest scale up to which a row is cloned and above which it is split, scene extents."""
    prune_opacity: float = 0.005
    """Rows below this opacity may be pruned."""
    prune_size: Annotated[float, at_least(0)] = 0.1
    """Scale above which rows may be pruned after the first reset, scene extents; 0: none."""
    prune_share: Annotated[float, within(0, 1, note="0.5 is published")] = 0.5
    """Share of the rows that may be pruned that is, at a refinement."""
    prune_until: int = 14_500
    """Rows are pruned before this step only: at the first 27 of 28 refinements."""
    reset_every: Annotated[int, at_least(0)] = 3000
    """Steps between opacity resets; 0: never."""
    reset_until: int = 15_000
    """Opacity is reset before this step only; a fitted schedule spares the last 15 % of a run."""
    reset_opacity: Annotated[
        float, within(0, 1, low_open=True, high_open=True, note="0.01 is published")
    ] = 0.01
    """Opacity that no row exceeds after a reset."""
    refine_from: int = 500
    """Rows grow and are pruned after this step."""
    refine_until: int = 15_000
    """Rows grow and are pruned before this step."""
    refine_every: Annotated[int, at_least(1)] = 500
    """Steps between refinements (500 in the paper's budgeted mode, 100 in its large one)."""

    @property
    def resets(self) -> bool:  # type: ignore[override]
        return self.reset_every > 0

    def scheduled(self, steps: int) -> Taming:
        between = every(self.refine_every, steps)
        most = max(between // VIEWS_SHARE, 1)
        return replace(
            self,
            views=min(self.views or most, most),
            prune_until=at(self.prune_until, steps),
            reset_every=resets_every(self.reset_every, steps),
            reset_until=min(at(self.reset_until, steps), resets_end(steps)),
            refine_from=at(self.refine_from, steps),
            refine_until=at(self.refine_until, steps),
            refine_every=between,
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        edits = dues(self.refine_from, self.refine_until, self.refine_every, steps)
        acts = {
            "grow and prune": [done for done in edits if done < self.prune_until],
            "grow": [done for done in edits if done >= self.prune_until],
            "reset opacity": [done for done in range(1, steps + 1) if self._resets(done)],
        }
        return {act: at_steps for act, at_steps in acts.items() if at_steps}

    def begin(self, model: Model) -> None:
        window.track(model.cloud)

    def observe(self, step: Step) -> None:
        if step.number + 1 < self.refine_until:
            window.observe(step)

    def refine(self, step: Step) -> Edit | None:
        done, edit = step.number + 1, None
        if due(done, self.refine_from, self.refine_until, self.refine_every):
            edit = self._refined(step, done)
        if self._resets(done):
            edit = opacity_reset(step.model.cloud, edit or Edit(), self.reset_opacity)
        return edit

    def score(self, step: Step) -> Float[Tensor, "n"]:
        """Score of every row over some views as they are now: sum of loss x terms in sight."""
        views = random_views(len(step.views), self.views, step.generator("views"))
        total = torch.zeros(len(step.model.cloud), dtype=torch.float64, device=step.render.device)
        for view in views:
            total += self._of_view(step, step.survey(view, (Salience(),)))
        return total

    def _of_view(self, step: Step, survey: Surveyed) -> Float[Tensor, "n"]:
        cloud, rendered, rows = step.model.cloud, survey.rendered, survey.rows
        source = window.rows_of(step, rendered)
        radius = torch.zeros(len(cloud), device=cloud.device)
        window.raise_to(radius, source, rendered.radii)
        pose = survey.batch.camera.world_to_camera
        depth = cloud["mean"].detach() @ pose[2, :3] + pose[2, 3]
        values = {
            "gradient": mean_screen_gradient(cloud),
            "opacity": cloud["opacity_logit"].detach().sigmoid(),
            "depth": depth.clamp_min(0),
            "radius": radius,
            "volume": cloud["log_scale"].detach().double().sum(1).exp(),
            "distance": rows.hits * radius,
            "salience": rows.weighted[:, 0],
            "pixels": rows.hits,
            "blend": rows.mass,
        }
        weights = {name: getattr(self.terms, name) for name in values}
        loss = Photometric()(replace(step, batch=survey.batch, rendered=rendered))
        return loss.double() * weighed(values, weights, radius > 0)

    def _resets(self, done: int) -> bool:
        return self.reset_every > 0 and due(done, 0, self.reset_until, self.reset_every)

    def _refined(self, step: Step, done: int) -> Edit:
        cloud, score = step.model.cloud, self.score(step)
        gone = self._gone(step, score, done)
        doomed = torch.stack(list(gone.values())).any(0)
        large = largest(cloud["log_scale"]) > math.log(self.dense_share * step.extent)
        grows = torch.zeros_like(large).index_fill_(
            0, self._drawn(step, score, ~doomed, large), True
        )
        grown = cloned_or_split(cloud, grows, large, step.generator("split"))
        rows = len(cloud) + sum(len(append.parents) for append in grown.append)
        return grown + pruning(rows, gone, grown) + Edit(clear=WINDOW)

    def _gone(
        self, step: Step, score: Float[Tensor, "n"], done: int
    ) -> dict[str, Bool[Tensor, "n"]]:
        """The part, drawn at random, of the rows that 3DGS would prune, by reason."""
        cloud = step.model.cloud
        prunable = {"opacity": faint(cloud, self.prune_opacity)}
        if self.prune_size and done > self.reset_every:
            size = largest(cloud["log_scale"]) > math.log(self.prune_size * step.extent)
            prunable["size"] = size & ~prunable["opacity"]
        may = torch.stack(list(prunable.values())).any(0)
        count = int(self.prune_share * int(may.sum())) if done < self.prune_until else 0
        unlike = (1 / (LEAST_SCORE + score)).where(may, 0)
        rows = select(unlike, count, "multinomial", step.generator("prune"))
        goes = torch.zeros_like(may).index_fill_(0, rows, True)
        return {reason: mask & goes for reason, mask in prunable.items()}

    def _drawn(
        self,
        step: Step,
        score: Float[Tensor, "n"],
        stays: Bool[Tensor, "n"],
        large: Bool[Tensor, "n"],
    ) -> Int[Tensor, "p"]:
        """The rows that grow: as many as the curve has room for, of each kind its share."""
        cloud = step.model.cloud
        u = share(step.number + 1, self.refine_from, self.refine_until, self.refine_every)
        most = target(self.curve, cloud.began, self.cap, u)
        free = room(len(cloud), int((~stays).sum()), most)
        wanting = (mean_screen_gradient(cloud) >= self.grow_gradient) & stays & (score > 0)
        candidates = int(wanting.sum())
        splits = round(min(free, candidates) * int((wanting & large).sum()) / max(candidates, 1))
        rows = [
            select(score.where(wanting & kind, 0), count, "multinomial", step.generator(purpose))
            for purpose, kind, count in (
                ("draw clones", ~large, min(free, candidates) - splits),
                ("draw splits", large, splits),
            )
        ]
        return torch.cat(rows)


def weighed(
    values: Mapping[str, Float[Tensor, "n"]],
    weights: Mapping[str, float],
    seen: Bool[Tensor, "n"],
) -> Float[Tensor, "n"]:
    """Sum over terms of weight x value in units of the median of its positive values in sight.

    What is not in sight has no score; a term that is nowhere positive counts nothing.
    """
    total = torch.zeros(len(seen), dtype=torch.float64, device=seen.device)
    for name, value in values.items():
        value = value.double().where(seen, 0)
        positive = value[value > 0]
        if weights[name] and len(positive):
            total += weights[name] / positive.median() * value
    return total
