"""Progress of all jobs in one view."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType

from tqdm import tqdm

from splat.jobs.work import Work
from splat.system.text import span

LOOK, LINE = 1.0, 60.0
"""Seconds between looks at the progress of jobs, and between lines where there is no terminal."""
_TAIL = 4096
"""Bytes at the end of a log that hold a whole line at least."""

_log = logging.getLogger(__name__)


class Board:
    """A bar of the steps of all jobs on a terminal; elsewhere a line a minute."""

    def __init__(self, works: Sequence[Work], quiet: bool) -> None:
        self._jobs, self._total = len(works), sum(work.steps for work in works)
        self._quiet, self._steps = quiet, 0
        self._start = self._looked = self._told = time.monotonic()
        self._first: int | None = None
        shown = not quiet and sys.stderr.isatty()
        self._bar = tqdm(
            total=self._total, unit=" step", dynamic_ncols=True, disable=not shown, file=sys.stderr
        )

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def show(
        self, running: Iterable[Work], waiting: int, over: Iterable[Work], last: bool = False
    ) -> None:
        """Show the progress, if it is time to or for the last time."""
        now = time.monotonic()
        if self._quiet or (now - self._looked < LOOK and not last):
            return
        self._looked = now
        runs, done = list(running), list(over)
        self._steps = sum(work.steps for work in done) + sum(steps_of(work) for work in runs)
        if self._first is None and self._steps:
            self._first, self._start = self._steps, now
        counts = f"{len(runs)} run, {waiting} wait, {len(done)} done"
        self._bar.set_postfix_str(counts, refresh=False)
        self._bar.update(self._steps - self._bar.n)
        if self._bar.disable and now - self._told >= LINE:
            self._told = now
            _log.info("jobs      %s of %d; %s", counts, self._jobs, self._said(now))

    def _said(self, now: float) -> str:
        share = 100 * self._steps / max(1, self._total)
        said = f"step {self._steps:,} of {self._total:,} ({share:.0f} %)"
        made = self._steps - (self._first or 0)
        if made <= 0:
            return said
        left = (now - self._start) / made * (self._total - self._steps)
        return f"{said}, about {span(left)} left"


def steps_of(work: Work) -> int:
    """Steps done by a job, by the last whole line of its progress; 0 where there is none."""
    if work.progress is None:
        return 0
    try:
        with work.progress.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().split(b"\n")
        step: int = json.loads(lines[-2])["step"]
    except (OSError, ValueError, LookupError, TypeError):
        return 0
    return min(step, work.steps)
