"""Audio-guided density control: points come where guidance is pulled at, and go where it is idle.

AV-GS (Bhosale et al. 2024) duplicates points whose guidance has a high mean gradient and removes
those that contribute little to what is heard; thresholds and schedule were not published. Ours
(`avgs-inspired`): the gradient of a point is the mean length of the loss's derivative by its
guidance over its uses, a use being one listener among whose points it is; what it contributes is
the mean change of the listener's context without it. A point that no listener uses is no evidence
that it is useless, and stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import Append, Drop, Edit, Nudge
from splat.strategies.acoustic.choices import Density

GRADIENT, CONTRIBUTION, USES = "audio_gradient", "audio_contribution", "audio_uses"
"""Statistics: sums over uses of the two measures, and the number of uses."""
PLANNED = 4000
"""Steps that the numbers of steps below are for."""


class Audible(Protocol):
    """What has audio points."""

    @property
    def cloud(self) -> Cloud:
        """Their rows: `mean` [N, 3], `mass` [N], and columns that children inherit."""
        ...


@dataclass(frozen=True)
class AudioStep:
    """All that density control may see of one step of listening."""

    number: int
    """Steps done before this one."""
    model: Audible
    used: Float[Tensor, "b n"]
    """1 where a point is among those of a listener, else 0."""
    gradient: Float[Tensor, "b n"]
    """Length of the derivative of a listener's own loss by the guidance of a point."""
    contribution: Float[Tensor, "b n"]
    """Length of the change of a listener's mean context without a point."""
    generator: Callable[[str], torch.Generator]
    """A fresh stream for a purpose, from (seed, number, purpose)."""


def left_out(context: Float[Tensor, "b n c"], weight: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """How far a mean of contexts moves without each of them, w |F - mean| / (1 - w).

    Weights of a listener have a sum of 1; of n equal ones it is |F - mean| / (n - 1).
    """
    mean = torch.einsum("bn,bnc->bc", weight, context)
    apart: Tensor = (context - mean[:, None]).norm(dim=-1)
    # A single point has no rest to be compared with.
    return (weight * apart / (1 - weight)).where(weight < 1 - 1e-6, 0)


@dataclass(frozen=True)
class AudioGuided(Density):
    """Duplicates audio points of a high mean gradient, and removes those that contribute little.

    It has the verbs of a `Strategy`, for steps that listen instead of looking.
    """

    def scheduled(self, steps: int) -> AudioGuided:
        """Fitted to a run of `steps`."""
        every, first, last = (
            max(1, round(number * steps / PLANNED))
            for number in (self.every, self.begin_at, self.end_at)
        )
        return replace(self, every=every, begin_at=first, end_at=last)

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        """After which steps, counted as done, points come or go."""
        due = [n + 1 for n in range(steps) if self._due(n)]
        return {"duplicate": due, "remove": due}

    def begin(self, model: Audible) -> None:
        """Declare the statistics."""
        for name in (GRADIENT, CONTRIBUTION, USES):
            model.cloud.track(name)

    @torch.no_grad()
    def observe(self, step: AudioStep) -> None:
        """Add up what this step says of each point."""
        cloud = step.model.cloud
        cloud.statistic(GRADIENT).add_((step.gradient * step.used).sum(0))
        cloud.statistic(CONTRIBUTION).add_((step.contribution * step.used).sum(0))
        cloud.statistic(USES).add_(step.used.sum(0))

    @torch.no_grad()
    def refine(self, step: AudioStep) -> Edit | None:
        """Propose an edit; it changes nothing itself."""
        if not self._due(step.number):
            return None
        cloud = step.model.cloud
        uses = cloud.statistic(USES)
        known = uses >= self.least_uses
        idle = self._idle(cloud.statistic(CONTRIBUTION) / uses.clamp_min(1), known)
        room = self.cap - len(cloud) + len(idle)
        born = self._pulled(cloud.statistic(GRADIENT) / uses.clamp_min(1), known, idle, room)
        half = torch.zeros_like(cloud["mass"].detach())
        half[born] = -cloud["mass"].detach()[born] / 2
        return Edit(
            nudge=(Nudge("mass", half),),
            append=(self._children(cloud, born, step.generator("audio children")),),
            drop=(Drop(idle, "idle"),),
            clear=(GRADIENT, CONTRIBUTION, USES),
        )

    def _due(self, number: int) -> bool:
        return (number + 1) % self.every == 0 and self.begin_at <= number + 1 < self.end_at

    def _idle(self, contribution: Float[Tensor, "n"], known: Tensor) -> Int[Tensor, "d"]:
        many = int(self.idle * len(contribution))
        order = contribution.where(known, torch.inf).argsort(stable=True)[:many]
        return order[known[order]].sort().values

    def _pulled(
        self, gradient: Float[Tensor, "n"], known: Tensor, idle: Tensor, room: int
    ) -> Int[Tensor, "a"]:
        """Rows to duplicate, ascending: the strongest where there is no room for all."""
        fit = known.clone()
        fit[idle] = False
        if room <= 0 or not bool(fit.any()):
            return torch.empty(0, dtype=torch.int64, device=gradient.device)
        above = fit & (gradient > gradient[fit].quantile(self.quantile))
        order = gradient.where(above, -1).argsort(descending=True, stable=True)
        return order[: min(room, int(above.sum()))].sort().values

    def _children(
        self, cloud: Cloud, parents: Int[Tensor, "a"], generator: torch.Generator
    ) -> Append:
        rows = cloud.rows(parents)
        place = cloud["mean"].detach()
        if len(parents):
            # As a matrix product it would be off where points lie close to each other.
            mode = "donot_use_mm_for_euclid_dist"
            apart = torch.cdist(place[parents], place, compute_mode=mode)
            apart[torch.arange(len(parents), device=place.device), parents] = torch.inf
            near = apart.amin(1, keepdim=True)
            noise = torch.randn(rows["mean"].shape, generator=generator, device=place.device)
            rows["mass"] = rows["mass"] / 2
            rows["mean"] = rows["mean"] + self.jitter * near.where(near.isfinite(), 0) * noise
        return Append(rows, parents, "pulled")
