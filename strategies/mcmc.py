"""3DGS as Markov chain Monte Carlo: a fixed budget of rows, and relocation of dead ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from splat import kernels
from splat.core import schedule
from splat.core.cloud import Cloud
from splat.core.edit import Append, Assign, Drop, Edit, Nudge
from splat.core.objective import Objective, OpacityL1, ScaleL1
from splat.core.schedule import PUBLISHED_STEPS, at, due, dues, full_by, refinements_left
from splat.core.step import Step
from splat.core.strategy import Recycler, Start
from splat.math import logit_of
from splat.rules.relocation import Relocation, Shares, shares
from splat.system.ranges import at_least, within

PUBLISHED_START = Start(opacity=0.5, scale=0.1)
"""Opacity and scale of the first rows in the released code."""
GATE_STEEPNESS = 100.0
"""How sharply the noise ends above the opacity of a dead row (the released code's k)."""
LEAST_GATE = 1e-5
"""Share of the noise below which a row is left where it is, from opacity 0.12 on: it would move by
less than a thousandth of its scale, however large it is."""


@dataclass(frozen=True)
class Mcmc(Recycler):
    """3DGS as Markov chain Monte Carlo (Kheradmand et al. 2024, arXiv 2404.09591).

    Relocation: dead rows are moved onto living ones, which share their opacity with them. The
    number of rows only grows, up to the cap; noise (SGLD) is added to the means of nearly
    transparent rows. Numbers are those of the released code.
    Needs the columns `mean`, `quat`, `log_scale` and `opacity_logit`; all others are copied.
    Where processes share the rows out, hosts are drawn of all rows, and a copy lies with its host:
    dead rows that others' copies stand for are dropped, so that N stays.
    """

    undivided = ""

    cap: Annotated[int, at_least(1)] = 1_000_000
    """Most rows the cloud may grow to."""
    dead: Annotated[
        float, within(0, 1, low_open=True, high_open=True, note="0.005 is published")
    ] = 0.005
    """Opacity at or below which a row is dead and relocated."""
    noise: float = 5e5
    """SGLD noise on the means of nearly transparent rows, in learning rates of the mean; 0 for
    none. It is not covariant: taken at the scene extent of 1 that we train in."""
    noise_every: Annotated[int, at_least(1)] = 1
    """Steps between the noise on one row. 1 (published): on all rows at every step; with 4 on every
    fourth of them, twice as large: the same random walk for a fourth of the time."""
    opacity_weight: float = 0.01
    """Opacity regulariser: weight of the mean opacity in the loss."""
    scale_weight: float = 0.01
    """Scale regulariser: weight of the mean scale in the loss, scene extents."""
    growth: Annotated[float, at_least(1, note="1.05 is published")] = 1.05
    """Factor on the number of rows at each refinement; in a fitted schedule of a short run, whose
    refinements are fewer, that of as many as each stands for."""
    full_by: int = 0
    """Step by which the cap is to be reached, growing faster than `growth` if need be; 0: any time
    (published). A fitted schedule sets it to 60 % of the way from start to end of growth."""
    refine_from: int = 500
    """Relocation and growth begin after this step."""
    refine_until: int = 25_000
    """Relocation and growth end before this step; noise goes on to the end of the run."""
    refine_every: Annotated[int, at_least(1)] = 100
    """Steps between refinements."""
    relocation: Relocation = "line"
    """What relocated copies keep of their host beside its peak: the integral along a line through
    it (published), or over its whole footprint."""
    recycled_moments: Literal["keep", "zero"] = "keep"
    """Adam's moments of a relocated row (published: keep; its host's are always zeroed)."""

    start_opacity: float | None = None
    """Opacity of the first rows. None: 0.5 (published); in a fitted schedule of fewer than 30,000
    steps 0.1, as in 3DGS."""
    start_scale: float | None = None
    """Scale of the first rows, mean distances to the three nearest points. None: 0.1 (published);
    in a fitted schedule of fewer than 30,000 steps 1, as in 3DGS: opaque dust takes thousands of
    steps to become surfaces."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.start.opacity < 1 or self.start.scale <= 0:
            raise ValueError(
                f"start_opacity is {self.start.opacity} and start_scale {self.start.scale},"
                " expected an opacity between 0 and 1 and a scale above 0; published: 0.5 and 0.1"
            )

    @property
    def start(self) -> Start:  # type: ignore[override]
        return self._start(PUBLISHED_START)

    def scheduled(self, steps: int) -> Mcmc:
        start, stop = at(self.refine_from, steps), at(self.refine_until, steps)
        first = self._start(Start() if steps < PUBLISHED_STEPS else PUBLISHED_START)
        merged = schedule.stands_for(self.refine_every, steps)
        return replace(
            self,
            start_opacity=first.opacity,
            start_scale=first.scale,
            # Twice as many at once at most, which short runs would be far beyond.
            growth=max(self.growth, min(2.0, self.growth ** min(merged, 200))),
            refine_from=start,
            refine_until=stop,
            refine_every=schedule.every(self.refine_every, steps),
            full_by=at(self.full_by, steps) if self.full_by else full_by(start, stop),
        )

    def edit_steps(self, steps: int) -> list[int]:
        """Steps (counted as done) of a run after which rows are relocated and added."""
        return dues(self.refine_from, self.refine_until, self.refine_every, steps)

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        edits = self.edit_steps(steps)
        return {"move and grow": edits} if edits else {}

    def objectives(self) -> Mapping[str, Objective]:
        return {
            "opacity": OpacityL1(self.opacity_weight),
            "scale": ScaleL1(self.scale_weight),
        }

    def target(self, rows: int, done: int) -> int:
        """Rows to have after the refinement at step `done`.

        At least `growth` times as many; more where the refinements left until `full_by` would not
        reach the cap at that factor.
        """
        target = int(self.growth * rows)
        left = refinements_left(done, min(self.full_by, self.refine_until - 1), self.refine_every)
        if left > 0 and 0 < rows < self.cap:
            target = max(target, math.ceil(rows * (self.cap / rows) ** (1 / left)))
        return min(target, self.cap)

    def refine(self, step: Step) -> Edit | None:
        edit = self._walk(step) if self.noise else Edit()
        if self._refines(step):
            edit = edit + self._populate(step, None)
        return edit if edit != Edit() else None

    def recycle(self, step: Step, rows: Bool[Tensor, "n"]) -> Edit | None:
        edit = (self._walk(step) if self.noise else Edit()) + self._populate(step, rows)
        return edit if edit != Edit() else None

    def _refines(self, step: Step) -> bool:
        return due(step.number + 1, self.refine_from, self.refine_until, self.refine_every)

    def _start(self, usual: Start) -> Start:
        """Opacity and scale of the first rows as asked for, else as `usual`."""
        opacity, scale = self.start_opacity, self.start_scale
        return Start(
            opacity=usual.opacity if opacity is None else opacity,
            scale=usual.scale if scale is None else scale,
        )

    def _walk(self, step: Step) -> Edit:
        """SGLD noise on the means of nearly dead rows, Sigma e gate: Sigma itself, not its root."""
        cloud = step.model.cloud
        quat, log_scale, logit = (
            cloud[name].detach() for name in ("quat", "log_scale", "opacity_logit")
        )
        every, generator = self.noise_every, step.generator("walk")
        reach = self.noise * cloud.rate("mean", step.number) * math.sqrt(every)
        quiet = logit_of(self.dead + math.log(1 / LEAST_GATE) / GATE_STEEPNESS)
        delta = kernels.walk(
            quat, log_scale, logit,
            reach=reach, dead=self.dead, steepness=GATE_STEEPNESS, quiet=quiet,
            every=every, phase=step.number % every, seed=generator.initial_seed(),
        )  # fmt: skip
        return Edit(nudge=(Nudge("mean", delta),))

    def _populate(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit:
        """Relocation, then growth where it is due out of the rows as relocation leaves them.

        Copies start where their hosts are before this step's noise. `rows` are relocated as if
        dead.
        """
        cloud = step.model.cloud
        draft = _Draft(cloud)
        dead = draft.opacity_logit <= logit_of(self.dead)
        if rows is not None:
            dead = dead | rows
            draft.condemn(rows)
        dead = dead.nonzero().squeeze(1)
        edit, shard = Edit(), cloud.shard
        shared = self._shares(cloud, draft, shard.total(len(dead)), step.generator("relocate"))
        hosts = dead[:0] if shared is None else shared.hosts
        if shared is not None:
            recycled, hosts = dead[: len(hosts)], hosts[: len(dead)]
            draft.share(shared)
            draft.move(recycled, hosts)
            moved = Assign(recycled, draft.rows(recycled), "relocate", self.recycled_moments, hosts)
            edit = Edit(assign=(_shared(shared), moved))
        if not shard.whole:
            beyond = hosts[:0] if shared is None else shared.hosts[len(dead) :]
            edit = edit + self._elsewhere(cloud, draft, dead[len(hosts) :], beyond)
        if not self._refines(step):
            return edit
        n = shard.total(len(cloud))
        more = self.target(n, step.number + 1) - n
        shared = self._shares(cloud, draft, more, step.generator("grow"))
        if shared is not None:
            draft.share(shared)
            born = Append(draft.rows(shared.hosts), draft.origin[shared.hosts], "grow")
            edit = edit + Edit(assign=(_shared(shared),), append=(born,))
        return edit

    def _elsewhere(
        self, cloud: Cloud, draft: _Draft, dead: Int[Tensor, "d"], hosts: Int[Tensor, "b"]
    ) -> Edit:
        """Dead rows that are relocated to another process, which are dropped here, and copies of
        those of others, which are born here: where the copies `hosts` are more than dead rows."""
        gone = dead[: cloud.shard.evened(len(dead), len(hosts))]
        born = (Append(draft.rows(hosts), draft.origin[hosts], "relocate"),) if len(hosts) else ()
        return Edit(append=born, drop=(Drop(gone, "relocate"),) if len(gone) else ())

    def _shares(
        self, cloud: Cloud, draft: _Draft, count: int, generator: torch.Generator
    ) -> Shares | None:
        return shares(
            draft.opacity_logit, draft.log_scale, count, generator, self.dead, self.relocation,
            cloud.shard,
        )  # fmt: skip


class _Draft:
    """Rows as they will be while an edit is being put together."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.opacity_logit = cloud["opacity_logit"].detach().clone()
        self.log_scale = cloud["log_scale"].detach().clone()
        self.origin = torch.arange(len(cloud), device=cloud.device)
        """Row before the edit that the other columns of each row come from: [N] int64."""

    def condemn(self, rows: Bool[Tensor, "n"]) -> None:
        """Make these rows transparent, so that no copy is made of them."""
        self.opacity_logit[rows] = -math.inf

    def share(self, shares: Shares) -> None:
        """Give hosts the opacity and the scales they have in common with their copies."""
        self.opacity_logit[shares.rows] = shares.opacity_logit
        self.log_scale[shares.rows] = shares.log_scale

    def move(self, rows: Tensor, hosts: Tensor) -> None:
        """Make rows like their hosts."""
        self.opacity_logit[rows] = self.opacity_logit[hosts]
        self.log_scale[rows] = self.log_scale[hosts]
        self.origin[rows] = hosts

    def rows(self, index: Tensor) -> dict[str, Tensor]:
        """All columns of some rows."""
        return {
            **self._cloud.rows(self.origin[index]),
            "opacity_logit": self.opacity_logit[index],
            "log_scale": self.log_scale[index],
        }


def _shared(shares: Shares) -> Assign:
    # Moments are zeroed: they belong to the row as it was before it shared its opacity.
    values = {"opacity_logit": shares.opacity_logit, "log_scale": shares.log_scale}
    return Assign(shares.rows, values, "share", "zero")
