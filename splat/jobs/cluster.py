"""Jobs carried out by Ray, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import splat
from splat.jobs.board import Board
from splat.jobs.connection import HERE, check_address, first_line, import_ray, ray_connection
from splat.jobs.local import WARNING
from splat.jobs.process import BEGUN, STOPPED, Place, failure_text, lines_of, log_bytes, was_killed
from splat.jobs.task import SentJob, run_job
from splat.jobs.work import Ended, Interrupted, Share, Work, check_unique
from splat.system.import_path import vouchers
from splat.system.signals import Heard, listening
from splat.system.text import size

LOOK, STALLED = 0.2, 60.0
"""Seconds between looks at tasks, and without any job begun until a warning says so."""
LOST = -signal.SIGKILL
"""Exit code that stands for the loss of a worker."""
OURS = "SPLAT_"
"""Prefix of the environment variables that are passed on to every job."""

_log = logging.getLogger(__name__)


class OnRay:
    """Runs every job as a task of Ray with the cores, the memory and the GPU that it needs.

    A worker of Ray that is killed is replaced by Ray, a process of a job by us.
    """

    def __init__(self, where: str, share: Share, retries: int) -> None:
        check_address(where)
        if share.workers < 1:
            raise ValueError("workers is 0; expected at least 1 on Ray: leave out --workers")
        self._where, self._share, self._retries = where, share, retries
        import_ray()

    def run(
        self, works: Sequence[Work], ended: Callable[[Ended], None], *, quiet: bool = False
    ) -> None:
        """Carry out jobs (`Engine.run`); their folders must be seen from all machines."""
        check_unique(works)
        if not works:
            return
        here = self._where == HERE
        with (
            ray_connection(self._where, self._share) as ray,
            listening(WARNING) as heard,
            Board(works, quiet) as board,
        ):
            _Tasks(ray, here, self._share, self._retries, works, ended, board).work(heard)
        if heard.number:
            raise Interrupted(heard.number)


@dataclass
class _Job:
    """A job and its state."""

    work: Work
    since: int
    """Bytes of its log before the first attempt."""
    sent: int
    """Bytes of its log before it was last sent."""
    times: int = 0
    """How often it was sent."""

    @property
    def attempts(self) -> int:
        """Number of processes begun for it, those that Ray began anew included."""
        lines = lines_of(self.work.log, self.since)
        return max(self.times, sum(line.startswith(BEGUN) for line in lines))

    @property
    def runs(self) -> bool:
        """Whether a process was begun since it was last sent."""
        return log_bytes(self.work.log) > self.sent


class _Tasks:
    """The tasks of Ray, by its handles."""

    def __init__(
        self,
        ray: Any,
        here: bool,
        share: Share,
        retries: int,
        works: Sequence[Work],
        ended: Callable[[Ended], None],
        board: Board,
    ) -> None:
        self._ray, self._share, self._retries = ray, share, retries
        self._ended, self._board, self._here = ended, board, here
        self._sent: dict[Any, _Job] = {}
        self._over: list[Work] = []
        self._waiting: deque[_Job] = deque()
        for work in works:
            work.log.parent.mkdir(parents=True, exist_ok=True)
            work.log.touch()
            self._waiting.append(_Job(work, log_bytes(work.log), log_bytes(work.log)))
        self._room = max((node.get("memory", 0) for node in self._nodes()), default=0)
        self._idle: float | None = time.monotonic()

    def work(self, heard: Heard) -> None:
        """Send what is waiting wherever there is room, until all is over or a signal came."""
        asked = False
        try:
            while self._sent or (self._waiting and not heard.number):
                while self._waiting and len(self._sent) < self._share.workers and not heard.number:
                    self._send(self._waiting.popleft())
                if heard.number and not asked:
                    asked = True
                    self._cancel(force=False)
                if not self._sent:
                    break
                ready, _ = self._ray.wait(list(self._sent), num_returns=1, timeout=LOOK)
                for task in ready:
                    self._conclude(self._sent.pop(task), task, asked)
                self._show()
            if not asked:
                self._board.show((), 0, self._over, last=True)
        except BaseException:
            self._cancel(force=True)
            raise

    def _send(self, job: _Job) -> None:
        work, share = job.work, self._share
        memory, before = work.memory, job.attempts
        job.sent, job.times = log_bytes(work.log), job.times + 1
        if self._here and memory > self._room > 0:
            memory = int(self._room)
            _log.warning(
                "warning: %s is predicted to take %s of memory and %s are free; it runs alone",
                work.key, size(work.memory), size(self._room),
            )  # fmt: skip
        ours = tuple((name, value) for name, value in os.environ.items() if name.startswith(OURS))
        ours += vouchers()
        path = tuple(sys.path) if self._here else None
        place = Place(share.threads, None, os.getcwd(), path, ours)
        task = self._ray.remote(run_job).options(
            name=work.key,
            num_cpus=share.threads,
            num_gpus=1 if share.devices else 0,
            memory=memory or None,
            max_retries=max(0, self._retries - before),
            retry_exceptions=False,
        )
        self._sent[task.remote(SentJob(work, place, splat.__version__))] = job

    def _conclude(self, job: _Job, task: Any, asked: bool) -> None:
        """Report a job whose task ended, or send it again; one that was stopped is neither."""
        try:
            code, message = self._ray.get(task)
        except Exception as error:
            if asked:
                return
            code, message = self._lost(error)
        if asked and (code in STOPPED or was_killed(code)):
            return
        attempts = job.attempts
        if was_killed(code) and attempts <= self._retries:
            _log.warning(
                "warning: the process of %s was ended by signal %d; it goes on in another one",
                job.work.key, -code if code < 0 else code - 128,
            )  # fmt: skip
            self._waiting.appendleft(job)
            return
        if was_killed(code):
            message = failure_text(code, job.work.log, (), attempts)
        if attempts > job.times:
            _log.info("ray       %s lost its worker, and went on in another one", job.work.key)
        self._over.append(job.work)
        self._ended(Ended(job.work.key, code, attempts, message))

    def _lost(self, error: Exception) -> tuple[int, str]:
        """Exit code and sentence of an error of Ray's in place of an answer."""
        if isinstance(error, self._ray.exceptions.RayTaskError) or "No module" in str(error):
            if "No module named 'splat" in str(error):
                return 2, (
                    "splat is not installed on a machine of the cluster; expected version"
                    f" {splat.__version__} on all of them: pip install splat-toolkit there"
                )
            return 1, f"Ray could not carry it out: {first_line(error)}"
        return LOST, ""

    def _cancel(self, force: bool) -> None:
        for task in self._sent:
            self._ray.cancel(task, force=force)

    def _show(self) -> None:
        runs = [job.work for job in self._sent.values() if job.runs]
        waiting = len(self._waiting) + len(self._sent) - len(runs)
        self._board.show(runs, waiting, self._over)
        if runs or not waiting:
            self._idle = time.monotonic() if self._idle is not None else None
        elif self._idle is not None and time.monotonic() - self._idle > STALLED:
            self._idle = None
            most = max((node.get("CPU", 0) for node in self._nodes()), default=0)
            _log.warning(
                "warning: Ray has begun no job for %.3g s; each needs %d cores%s, its machines have"
                " at most %d cores: wait for other work on it to end, or lower --threads",
                STALLED, self._share.threads, " and a GPU" if self._share.devices else "", most,
            )  # fmt: skip

    def _nodes(self) -> list[dict[str, float]]:
        """Resources of each living machine of the cluster."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
