"""Training a job to its end, with its watchers."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from splat.evaluation.evaluate import mean_psnr
from splat.evaluation.pictures import Row
from splat.kernels import forget_outputs, one_torch_thread
from splat.loop import Run, Watcher
from splat.options import Watching
from splat.parallel import Lost
from splat.rules.views import even_views
from splat.runs.folder import Folder
from splat.runs.log import LOG_EVERY, Log, read_log
from splat.system.clock import Clock
from splat.training.boards import boards
from splat.training.finish import held_out_fit, write_sheet
from splat.training.goals import LOOKS, goals_of
from splat.training.prepare import Job
from splat.training.rollback import roll_back, train_finite
from splat.training.slow_steps import SlowSteps
from splat.training.stop import Stop, stoppable
from splat.training.time_budget import TimeLimit
from splat.training.watchers import Bar, Checkpoints, Diverged, Guard, HeldOut, psnr_key
from splat.types import Batch

TRAINED_VIEWS = 16
"""Most training views that goals are measured on where none is held out."""


class Viewer(Watcher, Protocol):
    """A watcher that serves people, and lets them steer the run."""

    stopping: Callable[[], bool]
    """Whether a signal asks to stop, which a run that stands still must heed."""
    saving: Callable[[Run], Path] | None
    """Writes a checkpoint; None: there is no folder for one."""
    measured: Callable[[], Sequence[float]]
    """PSNR of the measurements on held-out photos so far, dB."""

    def rewound(self) -> None:
        """Take note that the run was set back to an earlier step."""
        ...


def run_to_end(
    job: Job,
    folder: Folder | None,
    watching: Watching,
    watchers: Sequence[Watcher],
    viewer: Viewer | None = None,
) -> float:
    """Train a job to its end; the seconds that training took, with those of timing before it.

    A checkpoint is written after all that may object to a step or end the run with it, and after
    watchers and viewer had their turn, so that it holds what they changed. Of several processes
    the first one shows, logs and saves; where one of them is gone, each of the others saves what
    the last whole step left, and `Lost` says how to go on. Where something is not finite, the run
    is rolled back once (`splat.training.rollback`); `watchers` then see earlier steps again.
    """
    run, start = job.run, time.monotonic() - job.pace.spent
    with ExitStack() as stack:
        stack.enter_context(one_torch_thread())
        stack.callback(forget_outputs)
        stack.enter_context(no_old_garbage())
        keeping = None
        if folder is not None:
            keeping = stack.enter_context(_kept(run, folder, watching))
        while True:
            log = _trained(job, keeping, watching, watchers, viewer, start)
            if run.over:
                return log.seconds if log is not None else time.monotonic() - start - run.waited


def _keeps(run: Run) -> bool:
    """Whether this process has a part in checkpoints: the first one, or all that share rows out."""
    return run.ranks.first or not run.model.cloud.shard.whole


@dataclass(frozen=True)
class _Keeping:
    """What keeps a run in a folder."""

    folder: Folder
    keeper: Checkpoints
    stop: Stop


@contextmanager
def _kept(run: Run, folder: Folder, watching: Watching) -> Iterator[_Keeping]:
    """Within, a run leaves a checkpoint where a signal stops it or another process is gone."""
    keeper = Checkpoints(folder.checkpoints, watching.checkpoint_every, watching.keep)
    save = keeper.save if _keeps(run) else keeper.path
    with stoppable(save, silent=not run.ranks.alone) as stop:
        if not run.ranks.alone:
            run.ranks.asking = lambda: stop.number
        with _surviving(run, keeper, folder):
            yield _Keeping(folder, keeper, stop)


def _trained(
    job: Job,
    keeping: _Keeping | None,
    watching: Watching,
    watchers: Sequence[Watcher],
    viewer: Viewer | None,
    start: float,
) -> Log | None:
    """Train a job up to its end, or until it is rolled back, and is to be trained again from there.

    `start` is when it began, by the monotonic clock. Gives the log; None where this process keeps
    none. What counts steps begins anew, as it does after a resume.
    """
    run = job.run
    writes, folder = run.ranks.first, None if keeping is None else keeping.folder
    keeper = None if keeping is None else keeping.keeper
    every = 1 if run.render.device.type == "cpu" else LOG_EVERY
    with ExitStack() as stack:
        log = None
        if writes and not watching.quiet:
            bar = stack.enter_context(closing(Bar(run.step, run.steps, job.time_left())))
            watchers = [bar, *watchers]
        if writes and folder is not None:
            log = stack.enter_context(closing(Log(folder.log, run.step, job.pace.spent)))
            for board in boards(watching, folder, run.step):
                watchers = [stack.enter_context(closing(board)), *watchers]
        looks = _measured(job, watching, folder, log)
        kept: list[Watcher] = []
        if keeping is not None:
            kept = [keeping.keeper, keeping.stop] if _keeps(run) else [keeping.stop]
            kept = kept if log is None else [log, *kept]
            if viewer is not None:
                viewer.stopping = lambda: keeping.stop.asked
                viewer.saving = keeping.keeper.save
        seen = _seen(viewer, looks)
        run.watchers = [
            SlowSteps(every),
            *seen,
            *looks,
            *_limited(job, log, start),
            Guard(every, keeper),
            *watchers,
            *kept,
        ]
        try:
            train_finite(run, keeper)
        except Diverged as why:
            rollback = roll_back(job, keeper, folder, why)
            if log is not None:
                log.rolled_back(run, rollback.step, rollback.found)
                run.waited = 0.0
            run.clock = Clock(run.render.device)
            if viewer is not None:
                viewer.rewound()
    return log


@contextmanager
def _surviving(run: Run, keeper: Checkpoints, folder: Folder) -> Iterator[None]:
    """Within, a run of which another process is gone leaves a checkpoint of its last whole step."""
    try:
        yield
    except Lost as lost:
        if not folder.config.is_file():
            raise  # another machine's disk, where the run is not kept
        if not run.model.cloud.shard.whole:
            raise _shares_lost(run, keeper, folder) from lost
        path = keeper.save(run)
        raise Lost(
            f"step {run.step:,} was the last that all {run.at_once} processes finished, one is"
            f" gone; {path.name} holds it: go on with `torchrun --nproc-per-node {run.at_once} -m"
            f" splat resume {folder.path}`"
        ) from lost


def _shares_lost(run: Run, keeper: Checkpoints, folder: Folder) -> Lost:
    """The error of a run of which a process is gone with the rows that it had."""
    again = f"`torchrun --nproc-per-node {run.ranks.count} -m splat resume {folder.path}`"
    kept = "there is no checkpoint yet, begin it anew"
    if keeper.last is not None:
        kept = f"go on from {keeper.last.name} with {again}"
    return Lost(
        f"one of the {run.ranks.count} processes of the run is gone after step {run.step:,}, and"
        f" its share of the rows with it; {kept}"
    )


@contextmanager
def no_old_garbage() -> Iterator[None]:
    """Within, Python's cycle collector looks only at objects made within, not at all that was
    imported."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _seen(viewer: Viewer | None, looks: Sequence[HeldOut]) -> list[Watcher]:
    if viewer is None:
        return []
    if looks:
        viewer.measured = lambda: looks[0].values
    return [viewer]


def _measured(
    job: Job, watching: Watching, folder: Folder | None = None, log: Log | None = None
) -> list[HeldOut]:
    """Watchers that measure views now and then: because it was asked for, or for the goals."""
    run, goals = job.run, goals_of(job.options)
    every = watching.eval_every or (max(1, run.steps // LOOKS) if goals else 0)
    held_out = job.held_out is not None
    if not every or not (goals or held_out):
        return []

    drawn = folder if held_out and watching.pictures and watching.eval_every else None

    def value() -> float:
        fit = held_out_fit(job, pose=False) if held_out else None
        rows: list[Row] = []

        def look(batch: Batch, image: Float[Tensor, "h w 3"], psnr: float) -> None:
            rows.append(Row.of(batch.name, psnr, batch.image, image, batch.mask))

        found = mean_psnr(
            run.model,
            run.last_render,
            _looked_at(job),
            run.background,
            fit=fit,
            look=None if drawn is None else look,
            ranks=run.ranks,
        )
        if drawn is not None:
            rows = run.ranks.interleaved(rows)
            if run.ranks.first:
                write_sheet(job, drawn, rows)
        return found

    key = psnr_key(held_out)
    # What was seen before a resume: it decides, with what is seen next, when the run ends.
    records = [] if folder is None else run.ranks.agreed(lambda: read_log(folder.log))
    before = [record[key] for record in records if key in record]
    return [HeldOut(every, value, log, goals=goals, before=before, held_out=held_out)]


def _limited(job: Job, log: Log | None, start: float) -> list[Watcher]:
    """The watcher that ends the run when its minutes are over, if there is such a limit."""
    if job.options.minutes is None:
        return []

    def spent() -> float:
        return log.seconds if log is not None else time.monotonic() - start - job.run.waited

    return [TimeLimit(job.options.minutes, spent)]


def _looked_at(job: Job) -> Iterator[Batch]:
    """The views that this process measures; others that share rows out may have more of them."""
    if job.held_out is not None:
        yield from job.own_batches()
    else:
        indices: Sequence[int] = even_views(job.photos.cameras, TRAINED_VIEWS)
        for index in job.run.ranks.shared(indices):
            yield job.photos.batch(index)
    job.run.model.cloud.shard.attend(job.run.model)
