"""History of the rows of a run: their age, the last event of each, and rows that were pruned."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.edit import SPLIT, Change, Edit
from splat.core.step import Step
from splat.loop import Run
from splat.math import LASTING, rgb_from_sh
from splat.types import Gaussians, Motion

BORN, HALVED, MOVED = 1, 2, 3
"""Events of a row: born, born by the split of a row, moved elsewhere (relocation)."""
MOST_GHOSTS = 20_000
MEMORY = 0.97
"""Decay, per gathering, of the mean of gradients."""
GATHER_EVERY = 4
MOTION = ("time", "duration", "velocity")
"""Arrays of how rows move, where they do."""
FADED = 0.1
"""Share of its opacity below which a Gaussian is not there."""


@dataclass(frozen=True)
class Ghosts:
    """Gaussians that were pruned after a step, in plain colours."""

    step: int
    gaussians: Gaussians


class Chronicle:
    """Arrays with an entry a row, which follow the rows through every edit. It only looks on."""

    def __init__(self, run: Run) -> None:
        self.began = run.step
        self.rows: dict[str, Tensor] = _fresh(run)
        """`since`: the step of its birth, or of the start of what is watched; `kind` and `when`:
        what last happened to it and after which step. Others may add arrays of their own, whose
        entries are 0 for newborn rows."""
        self.ghosts: deque[Ghosts] = deque()
        self.births: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        """Number of pruned rows by reason, since the chronicle began; `births` likewise."""
        self.followers: list[Callable[[Callable[[Tensor], Tensor]], None]] = []
        """Called with how rows changed: a function from an array with an entry a row before to one
        after, 0 for those that are not what they were."""
        self.gathers = False
        """Whether gradients are gathered, which costs a twentieth of a step each time."""

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        """Follow a step, as a watcher."""
        del losses
        if run.order is not None:
            order = run.order
            self._follow(lambda values: values.index_select(0, order))
        due = self.gathers and run.step % GATHER_EVERY == 0
        if due:
            self._gather(step)
        if change.edit is not None:
            self._count(change, change.edit)
            self._edited(run, step, change, change.edit)

    def rewound(self, run: Run) -> None:
        """Begin anew with the rows of an earlier step, of which nothing is known."""
        n = len(run.model.cloud)
        self.began, self.rows = run.step, _fresh(run)
        for counted in (self.ghosts, self.births, self.deaths):
            counted.clear()
        for follower in self.followers:
            follower(lambda values: values.new_zeros(n, *values.shape[1:]))

    @property
    def gradient(self) -> Float[Tensor, "n"] | None:
        """Moving mean of the gradient on screen, over the steps in which the row was seen."""
        if "gradient" not in self.rows:
            return None
        return self.rows["gradient"] / self.rows["sightings"].clamp_min(1e-6)

    def by_moment(self, step: int, recent: int, parts: int) -> list[int] | None:
        """Events of the last `recent` steps by when in the clip their rows are, in so many equal
        parts of it; rows that are always there are not counted. None: nothing moves."""
        if "time" not in self.rows:
            return None
        rows = self.lately(step, recent) & (self.rows["duration"] < LASTING)
        part = (self.rows["time"][rows] * parts).long().clamp(0, parts - 1)
        return part.bincount(minlength=parts).tolist()

    def lately(self, step: int, recent: int) -> Bool[Tensor, "n"]:
        """Rows with an event in the last `recent` steps."""
        rows: Tensor = (self.rows["kind"] != 0) & (self.rows["when"] > step - recent)
        return rows

    def dead(self, step: int, recent: int, moment: float = 0.0) -> list[Gaussians]:
        """Gaussians pruned in the last `recent` steps; of a scene that moves those that were there
        at a moment of its clip, as they were then."""
        lately = [ghosts.gaussians for ghosts in self.ghosts if ghosts.step > step - recent]
        return [_there(gaussians, moment) for gaussians in lately]

    def _gather(self, step: Step) -> None:
        n, device = len(self.rows["kind"]), self.rows["kind"].device
        for name in ("gradient", "sightings"):
            if name not in self.rows:
                self.rows[name] = torch.zeros(n, device=device)
        visible, source = step.rendered.visible.float(), step.rendered.gaussians.source
        length = step.rendered.screen_gradient().norm(dim=1) * visible
        if source is not None:
            rows = source // step.model.slots
            length = length.new_zeros(n).index_add_(0, rows, length)
            visible = visible.new_zeros(n).index_add_(0, rows, visible)
        self.rows["gradient"].mul_(MEMORY).add_(length)
        self.rows["sightings"].mul_(MEMORY).add_(visible)

    def _edited(self, run: Run, step: Step, change: Change, edit: Edit) -> None:
        n, device = change.before, self.rows["kind"].device
        moved = [a.index for a in edit.assign if a.parents is not None and len(a.index)]
        kept, born = change.kept, [append.parents for append in edit.append]
        if not moved and kept is None:
            return
        halved = torch.zeros(n, dtype=torch.bool, device=device)
        for drop in edit.drop:
            if drop.reason == SPLIT:
                halved[drop.rows[drop.rows < n]] = True
        fresh = [
            torch.where((parents >= 0) & halved[parents.clamp_min(0)], HALVED, BORN)
            for parents in born
        ]
        kind = torch.cat([self.rows["kind"], *fresh]).to(torch.int8)
        event = torch.zeros(len(kind), dtype=torch.bool, device=device)
        event[n:] = True
        for index in moved:
            kind[index], event[index] = MOVED, True
        if kept is not None:
            self._bury(run, step, kept, halved)
            kind, event = kind[kept], event[kept]

        added = sum(map(len, born))

        def after(values: Tensor) -> Tensor:
            values = torch.cat([values, values.new_zeros(added, *values.shape[1:])])
            values = values if kept is None else values.index_select(0, kept)
            return values.masked_fill(event.reshape(-1, *[1] * (values.ndim - 1)), 0)

        self._follow(after)
        self.rows["kind"] = kind
        for name in ("when", "since"):
            self.rows[name][event] = run.step
        self.rows |= _motion(run)

    def _count(self, change: Change, edit: Edit) -> None:
        for assign in edit.assign:
            # Without parents a row only gave up a share of itself for its children.
            if assign.parents is not None and len(assign.index):
                self.births[assign.reason] += len(assign.index)
                self.deaths[assign.reason] += len(assign.index)
        for name, rows in change.counts.items():
            verb, _, reason = name.partition(":")
            if verb == "append":
                self.births[reason] += rows
            elif verb == "drop" and reason != SPLIT:
                self.deaths[reason] += rows

    def _follow(self, after: Callable[[Tensor], Tensor]) -> None:
        self.rows = {name: after(values) for name, values in self.rows.items()}
        for follower in self.followers:
            follower(after)

    def _bury(self, run: Run, step: Step, kept: Tensor, halved: Bool[Tensor, "n"]) -> None:
        """Keep a copy of the rows that were pruned, as they were drawn last."""
        drawn = step.rendered.gaussians
        gone = torch.ones_like(halved)
        gone[kept[kept < len(gone)]] = False
        gone &= ~halved
        if drawn.source is not None:
            gone = gone[drawn.source // run.model.slots]
        rows = gone.nonzero()[:, 0][:MOST_GHOSTS]
        if not len(rows):
            return
        ghosts = plain_copy(drawn.take(rows))
        if "velocity" in self.rows and drawn.source is None:
            ghosts = self._at_own_times(ghosts, rows, step.batch.camera.time)
        self.ghosts.append(Ghosts(run.step, ghosts))
        while sum(len(ghosts.gaussians) for ghosts in self.ghosts) > MOST_GHOSTS:
            self.ghosts.popleft()

    def _at_own_times(self, drawn: Gaussians, rows: Tensor, time: float) -> Gaussians:
        """Rows that were drawn at an instant as they are at all times, by their motion as it was
        after the last edit."""
        columns = (self.rows[name].index_select(0, rows) for name in MOTION)
        motion = Motion(*columns)
        shift = motion.velocity * (time - motion.time)[:, None]
        shift = shift.where((motion.duration < LASTING)[:, None], 0)
        peaks = drawn.opacities if drawn.peaks is None else drawn.peaks
        means = drawn.means - shift
        return replace(drawn, means=means, opacities=peaks.detach(), motion=motion, peaks=None)


def _there(gaussians: Gaussians, moment: float) -> Gaussians:
    now = gaussians.at(moment)
    return now if now.peaks is None else now.take(now.opacities > FADED * now.peaks)


@torch.no_grad()
def _motion(run: Run) -> dict[str, Tensor]:
    """How rows move that have a time and a velocity of their own; nothing where they have none."""
    motion = run.model.motion() if "velocity" in run.model.cloud else None
    if motion is None:
        return {}
    values = (motion.time, motion.duration, motion.velocity)
    return {name: each.detach().clone() for name, each in zip(MOTION, values, strict=True)}


def _fresh(run: Run) -> dict[str, Tensor]:
    """Entries of rows to which nothing has happened yet."""
    n, device = len(run.model.cloud), run.model.cloud.device
    return {
        "since": torch.full((n,), run.step, dtype=torch.int32, device=device),
        "kind": torch.zeros(n, dtype=torch.int8, device=device),
        "when": torch.zeros(n, dtype=torch.int32, device=device),
        **_motion(run),
    }


def plain_copy(gaussians: Gaussians) -> Gaussians:
    """A detached copy without its source, in colours that are the same from everywhere."""
    colors = gaussians.colors.detach()
    if gaussians.sh_degree is not None:
        colors = rgb_from_sh(colors[:, 0].to(gaussians.means.dtype)).clamp(0, 1)
    return replace(
        gaussians,
        means=gaussians.means.detach().clone(),
        quats=gaussians.quats.detach().clone(),
        scales=gaussians.scales.detach().clone(),
        opacities=gaussians.opacities.detach().clone(),
        colors=colors.clone(),
        sh_degree=None,
        source=None,
        features=None,
    )
