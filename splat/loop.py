"""`Run` and `train`: the one loop that every method shares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.core.column import Scaling
from splat.core.dropout import Dropout
from splat.core.edit import Change, Edit
from splat.core.fields import parts_with_ways
from splat.core.knobs import RATE, Command, after_change, checked_rate
from splat.core.model import Model, TrainedModule
from splat.core.objective import Objective
from splat.core.score import survey
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.kernels import one_torch_thread
from splat.parallel import ALONE, Apart, Ranks, Together, combined_step
from splat.render.quantised import AS_IT_IS, Quantiser
from splat.sensor import Sensor
from splat.system.clock import Clock
from splat.types import (
    Batch,
    Camera,
    Drawing,
    Frame,
    Gaussians,
    Needs,
    PixelMap,
    Rendered,
    Renderer,
    Surveyed,
)

ORDER_EVERY = 1000
"""Steps between reorderings of rows for memory locality, as new rows come last."""


class Watcher(Protocol):
    """Looks at a step once it is done. Watchers change what is trained by `run.obey` only; one
    that sets `run.ended` makes this step the last."""

    def __call__(
        self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change
    ) -> None: ...


@dataclass
class Run:
    """One training run: its parts and its progress."""

    model: Model
    strategy: Strategy
    objectives: Mapping[str, Objective]
    render: Renderer
    batches: Callable[[int], Batch]
    """The decoded view of a picture by its number, that of the step times the photos that a step
    shows here: a function of it alone."""
    views: Sequence[Camera]
    """All training cameras, in the frame of training."""
    photos: Callable[[int, int], Batch]
    """A view by its number, decoded, at the size that a step shows."""
    steps: int
    """Number of steps of the run."""
    seed: int = 0
    """Seed of all its random streams."""
    extent: float = 1.0
    """Scene radius, units of training (`Step.extent`)."""
    frame: Frame = field(default_factory=lambda: Frame((0.0, 0.0, 0.0), 1.0))
    drawing: Drawing = field(default_factory=Drawing)
    """Settings that `render` draws with."""
    plain: Renderer | None = None
    """The renderer of what is shown and measured, which draws as any program does
    (`Drawing.plain`); None: that is `render`."""
    background: Float[Tensor, "3"] | None = None
    modules: Mapping[str, TrainedModule] = field(default_factory=dict)
    """Networks trained beside the rows, the sensor's too."""
    sensor: Sensor = field(default_factory=Sensor)
    """Corrections of poses and exposures of the photos."""
    visible_only: bool = False
    """Whether a step moves the rows in sight only (`Cloud.optimize`)."""
    quantiser: Quantiser = AS_IT_IS
    """Quantisation of what a step draws (`splat.export.quantisation`)."""
    dropout: Dropout | None = None
    """What is left out of the pictures of steps; None: nothing. Surveys see all."""
    watchers: Sequence[Watcher] = ()
    step: int = 0
    """Number of steps done."""
    ended: str = ""
    """Why it ended before `steps`; empty while it goes on, and where it ran to its end."""
    order: Int[Tensor, "n"] | None = None
    """The row that each row was before the last step put them in order; None: it did not."""
    script: Sequence[Command] = ()
    """Changes to make when as many steps are done as each says: those of a run to replay."""
    waited: float = 0.0
    """Seconds that training was paused."""
    rolled_back: bool = False
    """Whether it went back to an earlier step once, after values that were not finite, to go on at
    lower rates (`splat.training.rollback`)."""
    ranks: Ranks = ALONE
    """The processes that train it together, each with other photos."""

    def __post_init__(self) -> None:
        self.model.frame, self.model.region = self.frame, self.strategy.region()
        self.model.cloud.scaling = Scaling(self.at_once)
        self.strategy.begin(self.model)
        self.clock = Clock(self.render.device)

    clock: Clock = field(init=False)
    """Time that the strategy takes: observing, deciding (with what it surveys) and editing."""
    commands: list[Command] = field(default_factory=list, init=False)
    """Changes that were made to it, in order: `splat.runs.checkpoint` keeps them. Append by
    `obey`."""
    _unchanged: tuple[Strategy, Mapping[str, Objective]] | None = field(default=None, init=False)
    """Strategy and terms of the loss before the first change."""

    @property
    def at_once(self) -> int:
        """Photos that a step shows, all processes together."""
        return self.ranks.at_once

    @property
    def needs(self) -> Needs:
        """What this step needs of the renderer."""
        needs = self.strategy.needs
        for objective in self.objectives.values():
            needs = needs | objective.needs_at(self.step)
        return needs

    @property
    def over(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.steps or bool(self.ended)

    @property
    def last_render(self) -> Renderer:
        """The renderer that draws the model as it is exported, from where any program draws."""
        return self.quantiser.drawn_by(self.shown, self.step)

    @property
    def shown(self) -> Renderer:
        """The renderer of what is shown: pictures and figures are those of any program."""
        return self.plain or self.render

    def baked(self, *, whole: bool = False) -> Gaussians:
        """The Gaussians to export, frame of training; `whole`: with what a crop leaves out."""
        # The last rows of each thread's share are computed otherwise than the others.
        with one_torch_thread():
            gaussians = self.model.bake()
        gaussians = gaussians if whole else self.model.kept(gaussians)
        return self.quantiser(gaussians, self.step)

    @property
    def rows(self) -> int:
        """Rows that are trained, those in other processes too."""
        return self.model.cloud.shard.rows(len(self.model.cloud))

    def term(self, objective: Objective, step: Step) -> Float[Tensor, ""]:
        """A term of the loss; where rows are shared out its means over processes are those over
        all rows."""
        shard = self.model.cloud.shard
        value = objective(step)
        if shard.whole or not objective.of_rows:
            return value
        return value * shard.share(len(self.model.cloud))

    def make_whole(self) -> None:
        """Give every process all rows, at the end of training: Adam's moments are let go."""
        shard, cloud = self.model.cloud.shard, self.model.cloud
        if not shard.whole:
            shard.gather(cloud)
            self.render = shard.drawn_whole(self.render)
            self.plain = None if self.plain is None else shard.drawn_whole(self.plain)

    def survey(self, index: int, maps: Sequence[PixelMap] = ()) -> Surveyed:
        """Contributions of every row to a training view now (`Step.survey`)."""
        batch = self.photos(index, self.step)
        with torch.no_grad():
            batch = self.sensor.aimed(batch)

        def develop(rendered: Rendered) -> Rendered:
            return self.developed(rendered, batch.camera)

        return survey(
            self.model, self.render, batch, maps, self.background, self.step, develop=develop
        )

    def developed(self, rendered: Rendered, camera: Camera) -> Rendered:
        """A picture of a training view as its photo would show it."""
        return self.sensor.developed(rendered, camera, self.background)

    def generator(self, purpose: str) -> torch.Generator:
        """A fresh random stream that depends on (seed, step, purpose) only."""
        purpose = self.model.cloud.shard.named(purpose)
        return stream(self.seed, self.step, purpose, self.render.device)

    def optimize(self, visible: Bool[Tensor, "n"] | None = None) -> None:
        """Adam on the cloud, and the optimizers of the networks beside it."""
        self.model.cloud.optimize(self.step, visible)
        for part in self.modules.values():
            part.optimize(self.step, self.rate, self.model.cloud.scaling)
            part.optimizer.zero_grad(set_to_none=True)

    @property
    def rate(self) -> float:
        """Factor on all learning rates; 1: as planned."""
        return self.model.cloud.rate_scale

    def obey(self, name: str, value: float) -> Command:
        """Change a knob of the strategy (`splat.core.knobs.knobs`), or `rate`; what was done.

        Only the thread that trains may call it, between two steps: watchers do. Raises ValueError,
        and changes nothing, where the name or the value does not fit or no step is to come.
        """
        if self.over:
            raise ValueError(
                f"{name} changes nothing any more, step {self.step:,} was the last of the run;"
                " change it earlier"
            )
        return self.take(Command(self.step, name, value))

    def take(self, command: Command) -> Command:
        """Make a change now, under the step that it names, not this one; raises as `obey`."""
        if not self.commands:
            self._unchanged = self.strategy, self.objectives
        if command.name == RATE:
            rate = checked_rate(command.value)
            taken = replace(command, value=rate, before=self.rate)
            self.model.cloud.rate_scale = rate
        else:
            self.strategy, taken = after_change(self.strategy, command)
            terms = self.strategy.objectives()
            self.objectives = {n: terms.get(n, old) for n, old in self.objectives.items()}
        self.commands.append(taken)
        return taken

    def forget_changes(self) -> None:
        """Undo all changes that were made by `obey` or `take`."""
        if self.commands and self._unchanged is not None:
            self.strategy, self.objectives = self._unchanged
            self.model.cloud.rate_scale = 1.0
            self.commands.clear()


def stream(seed: int, step: int, purpose: str, device: torch.device) -> torch.Generator:
    """A fresh random stream that depends on (seed, step, purpose) only."""
    text = f"{seed}/{step}/{purpose}".encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return torch.Generator(device).manual_seed(number >> 1)


def train(run: Run) -> None:
    """Advance `run` to its last step."""
    while not run.over:
        advance(run)


def advance(run: Run) -> None:
    """One step. What it made is let go before the next one asks for memory."""
    replay(run)
    ordered = run.step and run.step % ORDER_EVERY == 0
    run.model.cloud.shard.balance(run.model.cloud, now=bool(ordered))
    run.order = run.model.order_rows() if ordered else None
    together, apart = Together(run.ranks.photos), None
    while not together.complete:
        step, views, losses = _shown(run, together.count)
        # As it is before the first photo was observed.
        apart = apart or Apart(run.model.cloud, run.ranks)
        with torch.no_grad(), run.clock:
            for each in views:
                run.strategy.observe(each)
        together.add(step, losses)
        del step, views, losses
    assert apart is not None
    with torch.no_grad():
        step, losses = together.mean(run.model.cloud, run.modules)
        step, losses = combined_step(run.ranks, apart, step, run.modules, losses)
        run.optimize(step.rows_in_sight if run.visible_only else None)
        with run.clock:
            change = _carried_out(run, run.strategy.refine(step))
        change = run.model.cloud.shard.counted(run.model.cloud, change)
    run.step += 1
    for watch in run.watchers:
        watch(run, step, losses, change)


def _shown(run: Run, number: int) -> tuple[Step, Sequence[Step], dict[str, Tensor]]:
    """One photo of this step: its picture, what is to be observed (that picture; where rows are
    shared out, every picture that these were drawn in), and the terms of its loss. Their gradients
    are taken."""
    step, needs = drawn(run, number)
    rendered = step.rendered
    losses = {name: run.term(objective, step) for name, objective in run.objectives.items()}
    if needs.weights:
        with torch.no_grad():
            rendered.weigh(needs.weights, step.batch)
    # Of their sum; a term that has nothing to say at a step is a constant.
    torch.autograd.backward([loss for loss in losses.values() if loss.requires_grad])
    return *run.model.cloud.shard.observed(step), losses


def _carried_out(run: Run, edit: Edit | None) -> Change:
    """Apply what the strategy proposes; RuntimeError names who proposed what cannot be done."""
    try:
        return run.model.apply(edit)
    except ValueError as error:
        kinds = [type(part) for _, part in parts_with_ways(run.strategy)]
        of_others = [kind for kind in kinds if not kind.__module__.startswith("splat.")]
        who = " + ".join(kind.__name__ for kind in of_others or kinds)
        raise RuntimeError(
            f"step {run.step + 1:,}: what {who} proposes cannot be done: {error}"
        ) from error


def drawn(run: Run, number: int = 0) -> tuple[Step, Needs]:
    """A picture of this step, through which gradients pass, and what it needed."""
    batch = run.batches(run.step * run.ranks.photos + number)
    # Only drawing passes gradients to where the camera stands.
    camera = run.sensor.aim(batch.camera)
    needs = run.needs
    gaussians = run.quantiser(run.model(camera, run.step), run.step)
    if run.dropout is not None:
        gaussians = run.dropout(gaussians, run.step, run.generator(f"dropout {number}"))
    rendered = run.developed(run.render(gaussians, camera, needs, run.background), camera)
    return _step(run, run.sensor.seen_by(batch, camera), rendered), needs


@torch.no_grad()
def next_step(run: Run) -> Step:
    """The next step up to its picture, without training, to ask a strategy for its edit."""
    batch = run.sensor.aimed(run.batches(run.step * run.ranks.photos))
    render = run.quantiser.drawn_by(run.render, run.step)
    rendered = render(run.model(batch.camera, run.step), batch.camera, run.needs)
    rendered = run.developed(rendered, batch.camera)
    return _step(run, batch, rendered)


def _step(run: Run, batch: Batch, rendered: Rendered) -> Step:
    return Step(
        run.step, run.model, batch, rendered, run.views, run.render, run.generator, run.extent,
        run.survey,
    )  # fmt: skip


def replay(run: Run) -> None:
    """Make the changes that the script has for this step, less those that a resume has made."""
    applied = [command for command in run.commands if command.step == run.step]
    for command in run.script:
        if command.step != run.step:
            continue
        if command in applied:
            applied.remove(command)
        else:
            run.take(command)
