"""Going back to the last good checkpoint, once, where what is trained is no longer finite."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from splat.core.knobs import RATE
from splat.loop import Run, advance, replay, train
from splat.parallel import Lost
from splat.runs import checkpoint
from splat.runs.checkpoint import State
from splat.runs.folder import Folder
from splat.training import dump
from splat.training.prepare import Job, prepare
from splat.training.watchers import Checkpoints, Diverged, broken_losses, what_is_broken

HALF = 0.5
"""Factor on all learning rates of a run that is rolled back."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rollback:
    """A rollback, for the log."""

    found: str
    """What was not finite, and when."""
    step: int
    """Steps that were done when it was found."""
    rate: float
    """Factor on the learning rates from here on."""


def train_finite(run: Run, keeper: Checkpoints | None) -> None:
    """`train`; an error that comes of values that are not finite is raised as `Diverged`.

    A strategy that ranks its rows refuses scores that are NaN, for one, before `Guard` looks.
    """
    try:
        train(run)
    except (ValueError, RuntimeError, IndexError) as error:
        # Of several processes this one may be the only one that has the error.
        known = isinstance(error, Diverged | Lost) or not run.ranks.alone
        broken = [] if known else what_is_broken(run)
        if not broken:
            raise
        text = f"step {run.step + 1:,}: {'; '.join(broken)} ({error})"
        raise Diverged(text, keeper.last if keeper else None) from error


def roll_back(
    job: Job, keeper: Checkpoints | None, folder: Folder | None, why: Diverged
) -> Rollback:
    """Set the run of a job back to its last good checkpoint, or to its start, at half its rates.

    What people changed since then is changed at that step. A run that was rolled back before is not
    again: `Diverged`, with a dump of the step that broke (`splat.training.dump`) if there is a
    folder.
    """
    run = job.run
    if not (why.by_all and run.model.cloud.shard.whole):
        raise why
    path, state = _good_state(job, keeper)
    if run.rolled_back:
        raise _end(job, state, folder, why) from why
    done, made = run.step, run.commands[len(state.get("commands", ())) :]
    checkpoint.restore(run, state)
    if keeper is not None:
        keeper.last = path
    for command in made:
        if command not in run.script:  # which makes its changes again
            run.obey(command.name, command.value)
    rate = float(run.obey(RATE, run.rate * HALF).value)
    run.rolled_back = True
    place = f"step {run.step:,}, where {path} left it" if path else "its start"
    _log.warning(
        "warning: %s; the run goes on from %s, once, at half its learning rates", why.found, place
    )
    return Rollback(why.found, done, rate)


def _good_state(job: Job, keeper: Checkpoints | None) -> tuple[Path | None, State]:
    """The last checkpoint that a run can be rolled back to, and what it holds; None: its start."""
    run, ranks = job.run, job.run.ranks

    def last() -> tuple[Path | None, State | None]:
        path = None if keeper is None else keeper.to_roll_back_to(run.at_once)
        return path, None if path is None else checkpoint.load(path)

    path, state = ranks.agreed(last)
    return path, _start(job) if state is None else state


def _start(job: Job) -> State:
    """The state of a job's run before its first step, made anew as it was made then."""
    run = job.run
    begun = prepare(
        job.scene, job.strategy, job.options,
        pace=job.pace, frame=run.frame, ranks=run.ranks, decided=job.decided,
    )  # fmt: skip
    with closing(begun):
        return checkpoint.state_of(begun.run)


def _end(job: Job, good: State, folder: Folder | None, why: Diverged) -> Diverged:
    """The error that ends a run, with a dump of the step, if that can be had, on the disk."""
    found = f"{why.found}, and its learning rates were halved before"
    if folder is None:
        return Diverged(f"{found}; give --out for a dump of the step", why.kept)
    try:
        path = _dumped(job, good, folder, why.found)
    except (OSError, MemoryError, RuntimeError, ValueError) as error:
        return Diverged(f"{found}; there is no dump of the step ({error})", why.kept)
    if path is None:
        text = f"it did not come again when steps were repeated from step {good['step']:,} on"
        return Diverged(f"{found}; {text}, so that there is no dump", why.kept)
    return Diverged(f"{found}; `splat debug-step {path}` shows where it begins", why.kept)


def _dumped(job: Job, good: State, folder: Folder, found: str) -> Path | None:
    """Repeat the steps since a good state up to the one that breaks something, and write that one.

    None where none does: on CUDA steps do not repeat to the bit.
    """
    run, last = job.run, job.run.step + 1
    made = run.commands[len(good.get("commands", ())) :]
    _log.info("the steps from %s on are repeated, to find the one that broke", f"{good['step']:,}")
    checkpoint.restore(run, good)
    run.script, run.ended = made, ""
    losses: list[str] = []
    run.watchers = [lambda run, step, terms, change: losses.extend(broken_losses(terms))]
    while run.step < min(last, run.steps):
        replay(run)
        before, at = checkpoint.copied(checkpoint.state_of(run)), run.step
        first, after = at * run.ranks.photos, (at + 1) * run.ranks.photos
        own = [run.batches(number).to("cpu") for number in range(first, after)]
        batches = [batch for part in run.ranks.each(own) for batch in part]
        try:
            advance(run)
        except (ValueError, IndexError) as error:  # of a strategy that met what is not finite
            losses.append(str(error))
        if losses or what_is_broken(run):
            path = dump.path_of(folder.dumps, at)
            if run.ranks.first:
                dump.write(path, job, before, batches, found)
            return path
    return None
