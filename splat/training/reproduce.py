"""What of a dumped step is not finite, and where that begins; it is repeated on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from splat.core.edit import Change, Edit
from splat.core.step import Step
from splat.kernels import one_torch_thread
from splat.loop import Run, advance, drawn
from splat.runs import checkpoint
from splat.training.dump import Dump, run_of
from splat.types import Batch

T = TypeVar("T")

NAMED = 6
"""Most rows that are named where values are not finite."""


@dataclass(frozen=True)
class Entry:
    """Some values of a step, and whether they are finite."""

    stage: str
    """What they are: before, drawn, picture, loss, gradient, edit or after."""
    name: str
    """Which: a column, a term of the loss, or both."""
    phrase: str
    """What and which, as one speaks of it."""
    total: int
    """Rows, or pixels, weights, values where it has none."""
    broken: int
    """How many of them hold NaN or infinite values."""
    rows: tuple[int, ...]
    """The first of these."""
    smallest: float
    """Least magnitude of the finite values; NaN where there is none."""
    largest: float
    """Largest magnitude of the finite values."""
    unit: str = "rows"


@dataclass(frozen=True)
class Report:
    """A step, repeated."""

    view: str
    entries: Sequence[Entry]
    """In the order in which they are computed."""
    stopped: str = ""
    """Why the step did not get to its end; empty: it did."""

    @property
    def first(self) -> Entry | None:
        """Where values are not finite first; None: all are."""
        return next((entry for entry in self.entries if entry.broken), None)


def reproduce(dump: Dump) -> list[Report]:
    """Repeat the step of a dump, once for each of its photos."""
    with one_torch_thread():
        return [_reproduced(dump, shown) for shown in dump.batches]


def _reproduced(dump: Dump, shown: Batch) -> Report:
    entries, stopped = [], ""
    try:
        for entry in _parts(dump, run_of(dump, shown)):
            entries.append(entry)
    except _Stopped as why:
        stopped = str(why)
    return Report(shown.name, entries, stopped)


class _Stopped(Exception):
    """A part of the step raised an error."""


def _parts(dump: Dump, run: Run) -> Iterator[Entry]:
    """The values of a step, part by part; every part begins from the state of the dump."""
    yield from _state_entries(run, "before", "before the step")
    yield from _shown(run)
    for name in run.objectives:
        yield from _gradients(dump, run, name)
    yield from _rest(dump, run)


def _shown(run: Run) -> Iterator[Entry]:
    """What is drawn, and the terms of the loss."""
    step = _attempted("drawing", lambda: drawn(run)[0])
    for name in ("means", "quats", "scales", "opacities", "colors"):
        values = getattr(step.rendered.gaussians, name)
        yield entry_of("drawn", name, f"the {name} of the Gaussians drawn", values, "Gaussians")
    for name, values in (("image", step.rendered.image), ("alpha", step.rendered.alpha)):
        yield entry_of("picture", name, f"the {name}", values, "lines")
    for name, term in run.objectives.items():
        loss = _attempted(f"the loss term {name}", partial(term, step))
        phrase = f"the loss term {name} is {float(loss.detach())}"
        yield entry_of("loss", name, phrase, loss.reshape(1), "values")


def _gradients(dump: Dump, run: Run, term: str) -> Iterator[Entry]:
    """The gradient of a term of the loss, with respect to each column and each network."""
    checkpoint.restore(run, dump.state)
    step, _ = drawn(run)
    loss = run.objectives[term](step)
    if not loss.requires_grad:
        return
    _attempted(f"the gradient of {term}", loss.backward)
    cloud = run.model.cloud
    for name in cloud.names:
        gradient = cloud.gradient(name)
        if gradient is not None:
            phrase = f"the gradient of {term} by {name}"
            yield entry_of("gradient", f"of {term} by {name}", phrase, gradient)
    for name, part in run.modules.items():
        for key, parameter in part.module.named_parameters():
            if parameter.grad is not None:
                which = f"of {term} by {name}.{key}"
                values = parameter.grad.reshape(-1)
                yield entry_of("gradient", which, f"the gradient {which}", values, "weights")


def _rest(dump: Dump, run: Run) -> Iterator[Entry]:
    """What the strategy proposes, and the state after the whole step."""
    checkpoint.restore(run, dump.state)
    edits: list[Edit] = []

    def note(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        del run, step, losses
        edits.extend([] if change.edit is None else [change.edit])

    run.watchers = [note]
    _attempted("the step", lambda: advance(run))
    for edit in edits:
        yield from _proposed(edit)
    yield from _state_entries(run, "after", "after the step")


def _proposed(edit: Edit) -> Iterator[Entry]:
    for nudge in edit.nudge:
        phrase = f"what the strategy adds to {nudge.name}"
        yield entry_of("edit", f"nudge {nudge.name}", phrase, nudge.delta)
    for overwrite in edit.overwrite:
        phrase = f"what the strategy sets {overwrite.name} to"
        yield entry_of("edit", f"overwrite {overwrite.name}", phrase, overwrite.values)
    for verb, proposals in (("assign", edit.assign), ("append", edit.append)):
        for proposal in proposals:
            for name, values in proposal.rows.items():
                phrase = f"the {name} of rows that the strategy would {verb} ({proposal.reason})"
                yield entry_of("edit", f"{verb} {proposal.reason} {name}", phrase, values)


def _state_entries(run: Run, stage: str, when: str) -> Iterator[Entry]:
    cloud = run.model.cloud
    for name in cloud.names:
        yield entry_of(stage, name, f"{name} {when}", cloud[name])
    for name in cloud.names:
        moments = torch.cat([_flat(m) for m in cloud.moments(name)], 1)
        yield entry_of(stage, f"moments of {name}", f"Adam's moments of {name} {when}", moments)
    for name, part in run.modules.items():
        for key, values in part.module.named_parameters():
            which = f"{name}.{key}"
            yield entry_of(stage, which, f"{which} {when}", values.reshape(-1), "weights")


@torch.no_grad()
def entry_of(stage: str, name: str, phrase: str, values: Tensor, unit: str = "rows") -> Entry:
    """The entry of values [n, ...]."""
    flat = _flat(values)
    rows = checkpoint.broken_rows(flat)
    finite = flat[flat.isfinite()].abs()
    low, high = (
        (float(finite.min()), float(finite.max())) if len(finite) else (torch.nan, torch.nan)
    )
    some = tuple(rows[:NAMED].tolist())
    return Entry(stage, name, phrase, len(flat), len(rows), some, low, high, unit)


def _flat(values: Tensor) -> Tensor:
    """Values [n, ...] as [n, k], n of 0 too."""
    return values.detach().reshape(len(values), values[:1].numel()).float()


def _attempted(what: str, act: Callable[[], T]) -> T:
    try:
        return act()
    except (ValueError, RuntimeError, IndexError) as error:
        raise _Stopped(f"{what} stopped with an error: {error}") from error
