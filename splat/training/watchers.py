"""Watchers: they look at a run while it trains, and never change it."""

from __future__ import annotations

import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm
from tqdm.std import TqdmWarning

from splat.core.edit import Change
from splat.core.step import Step
from splat.evaluation.evaluate import view_psnr
from splat.loop import Run
from splat.planning.time_left import TimeLeft
from splat.runs import checkpoint
from splat.runs.log import LOOK, Log
from splat.system.files import DiskFull
from splat.system.text import span
from splat.training.goals import Goals

COLUMNS_EVERY = 100
"""Steps between checks of the columns for NaN."""
CHECKPOINT_SECONDS = 60.0
"""Longest time between checkpoints, unless writing them takes too large a share of it."""
ROUND, ROUND_SHARE = (100, 10), 0.25
"""Numbers of steps whose multiples are waited for, so that names are round, and the longest share
of the time between checkpoints that this may take."""
CHECKPOINT_SHARE = 0.05
"""Largest share of the time that writing checkpoints may take."""

_log = logging.getLogger(__name__)

Losses = Mapping[str, Tensor]


class Diverged(RuntimeError):
    """A loss, or what is trained, is no longer a finite number."""

    def __init__(self, found: str, kept: Path | None, *, by_all: bool = True) -> None:
        """`found` says what and when, `kept` is the last good checkpoint. `by_all`: all processes
        of the run found it after the same step."""
        super().__init__(f"{found}; {kept_text(kept)}")
        self.found, self.kept, self.by_all = found, kept, by_all


class Guard:
    """Stops with a diagnosis as soon as a loss or a parameter is NaN or infinite."""

    def __init__(self, every: int = 1, keeper: Checkpoints | None = None) -> None:
        """Look at losses every so many steps: on CUDA each look waits for the device."""
        self._every, self._keeper = every, keeper

    def __call__(self, run: Run, step: Step, losses: Losses, change: Change) -> None:
        del change
        if run.step % self._every == 0:
            if terms := broken_losses(losses):
                text = f"the loss term {' and '.join(terms)}"
                raise self._diverged(run, step, text, *_trained_broken(run))
        if (run.step % COLUMNS_EVERY == 0 or run.over) and (broken := _trained_broken(run)):
            raise self._diverged(run, step, *broken)

    def _diverged(self, run: Run, step: Step, *reasons: str) -> Diverged:
        text = f"step {run.step:,} (view {step.batch.name}): {'; '.join(reasons)}"
        return Diverged(text, self._keeper.last if self._keeper else None)


class Checkpoints:
    """Writes a checkpoint every so many steps, each minute, and at the end; keeps the last few.

    Those of every so many steps are the ones that a run is rolled back to, since when the others
    are written depends on the clock; the last of them is kept, too.
    """

    def __init__(self, folder: Path, every: int, keep: int) -> None:
        self.folder, self._every, self._keep = folder, every, keep
        files = checkpoint.checkpoints_in(folder)
        self.last: Path | None = files[-1] if files else None
        """The last good one."""
        self._since, self._pause = time.monotonic(), CHECKPOINT_SECONDS
        self._first: int | None = None
        """The step after which time is counted."""

    def __call__(self, run: Run, step: Step, losses: Losses, change: Change) -> None:
        del step, losses, change
        # Of several processes that all have a part in it the first one says when it is time.
        time_is_up = self._due(run) and run.ranks.first
        if run.model.cloud.shard.total(time_is_up) or run.step % self._every == 0 or run.over:
            self.save(run)

    def _due(self, run: Run) -> bool:
        """Whether it is time for one, at a round number of steps if that does not take long."""
        spent = time.monotonic() - self._since
        if self._first is None:
            self._first = run.step - 1
        if spent <= self._pause:
            return False
        pace = spent / max(1, run.step - self._first)
        stride = next((n for n in ROUND if n * pace < ROUND_SHARE * self._pause), 1)
        return run.step % stride == 0

    def path(self, run: Run) -> Path:
        """The file that `save` would write for the present step."""
        return checkpoint.path_of(self.folder, run.step * run.at_once)

    def save(self, run: Run) -> Path:
        """Write a checkpoint; Diverged where anything in it is broken: every file here is good.

        Where processes share the rows out, all of them are to ask for it, and the first one writes.
        """
        path, broken = self.path(run), what_is_broken(run)
        if not run.model.cloud.shard.whole:
            broken = [text for each in run.ranks.each(broken) for text in each]
        if broken:
            text = f"step {run.step:,}: {'; '.join(broken)}"
            raise Diverged(text, self.last, by_all=run.ranks.alone)
        start = time.monotonic()
        state = checkpoint.whole_state_of(run)
        if not run.ranks.first and not run.model.cloud.shard.whole:
            self.last = path
            return path
        self._written(run, state, path)
        for later in self._files(beyond=path):  # of steps that the run went back before
            later.unlink(missing_ok=True)
        self.last = path
        checkpoint.prune(self.folder, self._keep, self.to_roll_back_to(run.at_once))
        self._since, self._first = time.monotonic(), run.step
        self._pause = max(CHECKPOINT_SECONDS, (self._since - start) / CHECKPOINT_SHARE)
        return path

    def _written(self, run: Run, state: checkpoint.State, path: Path) -> None:
        """Write a checkpoint; where the disk is full older ones make room for it."""
        try:
            checkpoint.write(state, path)
        except DiskFull as full:
            needed = (self.last, self.to_roll_back_to(run.at_once))
            older = [old for old in self._files() if old not in needed]
            if not older:
                raise
            _log.warning("warning: %s; older checkpoints of this run make room", full)
            for old in older:
                old.unlink(missing_ok=True)
            checkpoint.write(state, path)

    def to_roll_back_to(self, at_once: int) -> Path | None:
        """The checkpoint that steps since then can be repeated from, whatever the clock; None: the
        start of the run is. A step shows so many photos `at_once`."""
        good = [path for path in self._files() if self.last is not None and path <= self.last]
        every = self._every * at_once
        regular = [path for path in good if checkpoint.shown_of(path) % every == 0]
        if regular or not good or checkpoint.shown_of(good[-1]) < every:
            return regular[-1] if regular else None
        return good[-1]  # versions of splat before this kept those by the clock only

    def _files(self, beyond: Path | None = None) -> list[Path]:
        files = checkpoint.checkpoints_in(self.folder)
        return files if beyond is None else [path for path in files if path > beyond]


class HeldOut:
    """Measures the held-out views every so many steps, and ends the run where goals are met.

    Where nothing is held out, the goals look at views that are trained on.
    """

    def __init__(
        self,
        every: int,
        measure: Callable[[], float],
        log: Log | None,
        *,
        goals: Goals = Goals(),  # noqa: B008
        before: Sequence[float] = (),
        held_out: bool = True,
    ) -> None:
        """`measure` gives dB; `before` is what it gave at earlier steps of this run."""
        self._every, self._measure, self._log = every, measure, log
        self._goals, self._held_out = goals, held_out
        self.values = list(before)
        """dB that was found, of this run's earlier looks too."""

    def __call__(self, run: Run, step: Step, losses: Losses, change: Change) -> None:
        del step, losses, change
        if run.step % self._every or run.over:
            return
        start = time.monotonic()
        value = self._measure()
        took = round(time.monotonic() - start, 3)
        views = "held-out views" if self._held_out else "views that are trained on"
        _log.info("step %s: %.2f dB on %s", f"{run.step:,}", value, views)
        self.values.append(value)
        run.ended = self._goals.reached(self.values)
        if self._log is not None:
            ended = {"ended": run.ended} if run.ended else {}
            looked = {psnr_key(self._held_out): value, LOOK: took, **ended}
            self._log.write({**self._log.head(run), **looked})


def psnr_key(held_out: bool) -> str:
    """The key of a measurement, dB, in the log: of views held out or trained on."""
    return "test_psnr" if held_out else "train_psnr"


def _of_notebook() -> Any:
    """tqdm's bar of a notebook; without ipywidgets it is text, which is no cause for a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm as found

    return found


class Bar:
    """Progress on a terminal and in a notebook as a bar, elsewhere as a line now and then."""

    LINES = 10
    """Lines of a whole run where there is no terminal."""
    PAUSE = 0.3
    """Seconds between looks at the picture."""

    def __init__(self, step: int, steps: int, left: TimeLeft) -> None:
        self._left = left
        notebook = "ipykernel" in sys.modules
        self._bar = (_of_notebook() if notebook else tqdm)(
            total=steps,
            initial=step,
            unit=" step",
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]",
            disable=not (notebook or sys.stderr.isatty()),
            mininterval=0.2,
        )
        self._first, self._start, self._shown = step, time.monotonic(), 0.0

    def __call__(self, run: Run, step: Step, losses: Losses, change: Change) -> None:
        del change
        if self._bar.disable:
            if run.step % max(1, run.steps // self.LINES) == 0 and not run.over:
                _log.info("%s", self._line(run, step, losses))
            return
        now = time.monotonic()
        if now - self._shown > self.PAUSE or run.over:
            self._shown = now
            text = f"{span(self._seconds_left(run))} left, {_state(run, step, losses)}"
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(run.step - self._bar.n)

    def close(self) -> None:
        """Close the bar; its line stays."""
        self._bar.close()

    def _seconds_left(self, run: Run) -> float:
        elapsed = time.monotonic() - self._start - run.waited
        return self._left.at(run.step, run.rows, elapsed)

    def _line(self, run: Run, step: Step, losses: Losses) -> str:
        pace = (time.monotonic() - self._start) / max(1, run.step - self._first)
        left = span(self._seconds_left(run))
        return (
            f"step {run.step:,} of {run.steps:,}: {_state(run, step, losses)},"
            f" {pace * 1e3:.1f} ms a step, {left} left"
        )


def _state(run: Run, step: Step, losses: Losses) -> str:
    loss = sum(float(value.detach()) for value in losses.values())
    return f"loss {loss:.4f}, {view_psnr(step):.2f} dB, {run.rows:,} {run.model.unit}"


def broken_losses(losses: Losses) -> list[str]:
    """Terms of the loss that are NaN or infinite, in words."""
    return [
        f"{name} is {value}"
        for name, loss in losses.items()
        if not math.isfinite(value := float(loss.detach()))
    ]


def what_is_broken(run: Run) -> list[str]:
    """What of the state of a run is NaN or infinite, moments of Adam included, in words."""
    moments = checkpoint.broken_moments(run.model.cloud)
    return [*_trained_broken(run), *_said("moments of columns", moments, len(run.model.cloud))]


def _trained_broken(run: Run) -> list[str]:
    """Columns and networks that hold NaN or infinite values, in words."""
    rows = checkpoint.broken_columns(run.model.cloud)
    weights = checkpoint.broken_networks(run.modules)
    return [*_said("columns", rows, len(run.model.cloud)), *_said("networks", weights)]


def _said(what: str, broken: Mapping[str, int], total: int = 0) -> list[str]:
    of = f" of {total} rows" if total else " weights"
    names = ", ".join(f"{name!r} ({count}{of})" for name, count in broken.items())
    return [f"{what} with values that are not finite: {names}"] if broken else []


def kept_text(path: Path | None) -> str:
    """Which checkpoint is the last good one."""
    return f"the last good checkpoint is {path}" if path else "there is no checkpoint yet"
