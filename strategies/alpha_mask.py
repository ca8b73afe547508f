"""Pruning by masks: rows drawn outside of the outlines of photos go, beside any method.

Inspired by Landreau & Tamaazousti 2022 (arXiv 2210.09148), who remove faces of a mesh that are
drawn outside of 2-D masks; the same for Gaussians, with a rule and numbers of our own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.edit import Drop, Edit
from splat.core.families import merged_edits
from splat.core.model import Model
from splat.core.objective import Objective
from splat.core.schedule import at, due, dues, every
from splat.core.step import Step
from splat.core.strategy import Strategy, Wrapper
from splat.rules.outlines import Beyond, Outlined, grown
from splat.rules.window import add, rows_of
from splat.system.ranges import at_least, within
from splat.types import Batch, Needs, Rendered

SHOWN, OUTSIDE, AGAINST, PROOFS = "mask_shown", "mask_outside", "mask_against", "mask_proofs"
"""Statistics of the window: blending weight in photos with an outline, and of it what lies outside
of the outline; photos in which more than the share does, and those in which all does."""
WINDOW = (SHOWN, OUTSIDE, AGAINST, PROOFS)
LEAST_SHOWN = 0.5
"""Least blending weight in a photo for a row to be judged by it, pixels at full size."""
ALL = 0.99
"""Share outside that counts as all of a row, since a Gaussian has no edge."""
_INSIDE = 128
"""Value of an outline from which a pixel is inside."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Silhouette(Objective):
    """weight * mean |alpha - outline|, of photos that have an outline."""

    weight: float = 0.0
    needs = Needs(outline=True)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        alpha, outline = step.rendered.alpha, step.batch.outline
        if outline is None or not self.weight:
            return alpha.new_zeros(())
        return self.weight * (alpha - outline.to(alpha.dtype) / 255).abs().mean()


@dataclass(frozen=True)
class AlphaMask(Wrapper):
    """Pruning by masks: rows that contribute outside of the outlines of photos (masks, or alpha).

    What is of the object lies within its outline in every photo. A row is pruned if, of the photos
    since the last time, more than a share of its contribution lies outside, over all or in several
    of them, or all of it in one. Methods that relocate rows relocate it. Photos without an
    outline say nothing. Outlines must show the whole object: not for masks that leave out people.
    """

    known_as = "alpha-mask"

    above: Annotated[float, within(0, 1, low_open=True, high_open=True)] = 0.5
    """Share of a row's contribution (blending weight) outside of outlines, over all photos, above
    which it is pruned."""
    views: Annotated[int, at_least(1)] = 3
    """Number of photos, each with more than that share outside, from which a row is pruned."""
    proof: Annotated[int, at_least(1)] = 1
    """Number of photos, each with all of a row's contribution outside, from which it is pruned;
    more where masks or poses are not to be trusted one by one."""
    hull: bool = False
    """Visual hull: occluded rows are judged, too, by whether their projection is wholly outside of
    an outline."""
    margin: int = 1
    """Pixels that outlines are grown by first, as they are never exact."""
    silhouette: Annotated[float, at_least(0)] = 0.0
    """Weight of the silhouette loss, mean |opacity of the picture - outline|; 0: none."""
    prune_from: int = 500
    """Rows are judged after this step."""
    prune_until: int = 25_000
    """Rows are judged before this step."""
    prune_every: Annotated[int, at_least(1)] = 500
    """Steps between two times; what counts is what was drawn since the last one, so there should
    be as many as photos."""

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return self.base.needs | Needs(outline=True, weights=(Outlined(), Beyond(self.margin)))

    def objectives(self) -> Mapping[str, Objective]:
        # Photos bring their outlines where a term of the loss asks for them.
        return {**self.base.objectives(), "silhouette": Silhouette(self.silhouette)}

    def scheduled(self, steps: int) -> Strategy:
        return replace(
            self,
            base=self.base.scheduled(steps),
            prune_from=at(self.prune_from, steps),
            prune_until=at(self.prune_until, steps),
            prune_every=every(self.prune_every, steps),
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        what = f"{'move' if self.base.recycles else 'prune'} by masks"
        own = dues(self.prune_from, self.prune_until, self.prune_every, steps)
        base = self.base.acts(steps)
        return {**base, **({what: sorted({*base.get(what, ()), *own})} if own else {})}

    def begin(self, model: Model) -> None:
        self.base.begin(model)
        for name in WINDOW:
            model.cloud.track(name, combine="sum")

    def observe(self, step: Step) -> None:
        self.base.observe(step)
        if step.batch.outline is None:
            return
        cloud = step.model.cloud
        # Of a smaller picture a pixel stands for several.
        area = step.batch.shrink**2
        maps = (Outlined(), Beyond(self.margin))
        shown, outside = (_by_row(step, step.rendered.weighted(map) * area) for map in maps)
        judged = shown >= LEAST_SHOWN
        proven = judged & (outside >= ALL * shown)
        if self.hull:
            away = _by_row(step, beyond(step.rendered, step.batch, self.margin).float())
            proven |= (away > 0) & (away == _by_row(step, step.rendered.visible.float()))
        cloud.statistic(SHOWN).add_(shown)
        cloud.statistic(OUTSIDE).add_(outside)
        cloud.statistic(AGAINST).add_(judged & (outside > self.above * shown))
        cloud.statistic(PROOFS).add_(proven)

    def condemned(self, step: Step) -> Bool[Tensor, "n"]:
        """Rows that the photos of the window disprove; none where that would be all of them."""
        shown, outside, against, proofs = map(step.model.cloud.statistic, WINDOW)
        gone = (shown >= LEAST_SHOWN) & (outside > self.above * shown)
        gone = gone | (against >= self.views) | (proofs >= self.proof)
        return gone & ~gone.all()

    def proposal(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
        if not due(step.number + 1, self.prune_from, self.prune_until, self.prune_every):
            return super().proposal(step, rows)
        cloud = step.model.cloud
        if not cloud.statistic(SHOWN).any():
            _log.warning(
                "step %s: alpha-mask removed nothing, as no photo that was shown has an outline;"
                " give masks with --masks FOLDER, or photos with an alpha channel",
                f"{step.number + 1:,}",
            )
        gone, clear = self.condemned(step), Edit(clear=WINDOW)
        if self.base.recycles:
            return (super().proposal(step, gone if rows is None else gone | rows) or Edit()) + clear
        drop = Edit(drop=(Drop(gone.nonzero().squeeze(1), "mask"),))
        return (merged_edits([drop, super().proposal(step, rows)], cloud) or Edit()) + clear


def _by_row(step: Step, values: Float[Tensor, "m"]) -> Float[Tensor, "n"]:
    """Values of the Gaussians of the step's picture, summed over those of each row."""
    total = torch.zeros(len(step.model.cloud), device=values.device)
    add(total, rows_of(step), values)
    return total


def beyond(rendered: Rendered, batch: Batch, margin: int) -> Bool[Tensor, "m"]:
    """Gaussians of a picture that lie wholly outside of its photo's outline, hidden or not.

    One that is projected farther from the outline than its longer half extent, its centre within
    the picture.
    """
    camera, means = batch.camera, rendered.gaussians.means.detach()
    assert batch.outline is not None
    outside = (grown(batch.outline, margin) < _INSIDE / 255).to(torch.uint8).cpu().numpy()
    away = torch.full((camera.height, camera.width), torch.inf)
    if not outside.all():
        import cv2  # lists of methods are sooner there without it

        away = torch.from_numpy(np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, 5)))
    pose, K = camera.world_to_camera, camera.K
    x, y, z = (means @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    inside = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    pixel = (v.where(inside, 0).long() * camera.width + u.where(inside, 0).long()).clamp_min(0)
    distance = away.to(means).flatten().index_select(0, pixel)
    return inside & rendered.visible & (distance > rendered.radii)
