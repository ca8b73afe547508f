"""A job trained to its end under the eyes of its watchers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import torch

from splat.finish import measure
from splat.folder import Folder
from splat.job import Job
from splat.log import LOG_EVERY, Log
from splat.options import Watching
from splat.run import Watcher, train
from splat.stop import stoppable
from splat.watch import Bar, Board, Checkpoints, Guard, HeldOut


def trained(
    job: Job, folder: Folder | None, watching: Watching, watchers: Sequence[Watcher]
) -> float:
    """Seconds that training took; a checkpoint is written after all that may object to a step."""
    run, start = job.run, time.monotonic()
    every = 1 if run.render.device.type == "cpu" else LOG_EVERY
    with ExitStack() as stack:
        stack.enter_context(_one_torch_thread())
        if not watching.quiet:
            bar = stack.enter_context(closing(Bar(run.step, run.steps)))
            watchers = [bar, *watchers]
        if folder is None:
            run.watchers = [Guard(every), *_measured(job, watching, None), *watchers]
            train(run)
            return time.monotonic() - start
        keeper = Checkpoints(folder.checkpoints, watching.checkpoint_every, watching.keep)
        log = stack.enter_context(closing(Log(folder.log, run.step)))
        if watching.tensorboard:
            board = Board(folder.tensorboard, run.step)
            watchers = [stack.enter_context(closing(board)), *watchers]
        stop = stack.enter_context(stoppable(keeper.save))
        guard = Guard(every, keeper)
        run.watchers = [guard, log, *_measured(job, watching, log), keeper, *watchers, stop]
        train(run)
        return log.seconds


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Leave the cores to our kernels: torch's own threads would spin on them between its steps.

    What torch sums is then the same, too, whatever the number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measured(job: Job, watching: Watching, log: Log | None) -> list[Watcher]:
    if not watching.eval_every or job.held_out is None:
        return []

    def value() -> float:
        found = measure(job, None)
        return math.nan if found is None else found.psnr

    return [HeldOut(watching.eval_every, value, log)]
