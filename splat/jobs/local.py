"""Jobs carried out on this machine, as many at once as it has room for."""

from __future__ import annotations

import logging
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from splat.jobs.board import Board
from splat.jobs.process import (
    STOPPED,
    Place,
    begin_process,
    failure_text,
    lines_of,
    log_bytes,
    was_killed,
)
from splat.jobs.work import Ended, Interrupted, Share, Work, check_unique
from splat.system import machine
from splat.system.signals import Heard, listening
from splat.system.text import size

PAUSE = 0.1
"""Seconds between looks after the processes."""
WARNING = "stopping with checkpoints; once more to stop at once, without"

_log = logging.getLogger(__name__)


class Here:
    """Runs jobs one after the other, in this process."""

    def run(
        self, works: Sequence[Work], ended: Callable[[Ended], None], *, quiet: bool = False
    ) -> None:
        """Carry out jobs (`Engine.run`); their output goes where that of this process goes."""
        from splat.jobs.child import call_job

        check_unique(works)
        for work in works:
            code, message = call_job(work.call, work.log, work.arguments)
            if code > 128:
                raise Interrupted(code - 128)
            if code and not message:
                message = f"it ended with exit code {code}"
            ended(Ended(work.key, code, 1, message))


class Local:
    """Runs as many jobs at once as there are workers, each in a process of its own.

    A job is begun when a worker is free and what it and those that run are predicted to hold fits
    the memory that was free at the start; one that never fits runs alone.
    """

    def __init__(self, share: Share, retries: int) -> None:
        self._share, self._retries = share, retries

    def run(
        self, works: Sequence[Work], ended: Callable[[Ended], None], *, quiet: bool = False
    ) -> None:
        """Carry out jobs on this machine (`Engine.run`)."""
        check_unique(works)
        with listening(WARNING) as heard, Board(works, quiet) as board:
            _Crew(self._share, self._retries, works, ended, board).work(heard)
        if heard.number:
            raise Interrupted(heard.number)


@dataclass
class _Running:
    """The process of a job."""

    work: Work
    process: subprocess.Popen[bytes]
    attempt: int
    since: int
    """Bytes of the log before this attempt."""


class _Crew:
    """The running processes, by worker."""

    def __init__(
        self,
        share: Share,
        retries: int,
        works: Sequence[Work],
        ended: Callable[[Ended], None],
        board: Board,
    ) -> None:
        self._share, self._retries, self._ended, self._board = share, retries, ended, board
        self._waiting = deque((work, 1) for work in works)
        self._running: dict[int, _Running] = {}
        self._over: list[Work] = []
        memory = machine.memory()
        self._room = memory[1] if memory else None
        self._told = False

    def work(self, heard: Heard) -> None:
        """Begin what is waiting wherever there is room, until all is over or a signal came."""
        asked = False
        try:
            while self._running or (self._waiting and not heard.number):
                if not heard.number:
                    self._begin()
                elif not asked:
                    asked = True
                    for running in self._running.values():
                        running.process.terminate()
                for worker, running in list(self._running.items()):
                    if running.process.poll() is not None:
                        del self._running[worker]
                        self._conclude(running, asked)
                runs = [running.work for running in self._running.values()]
                self._board.show(runs, len(self._waiting), self._over)
                time.sleep(PAUSE)
            if not asked:
                self._board.show((), 0, self._over, last=True)
        finally:
            for running in self._running.values():
                running.process.kill()

    def _begin(self) -> None:
        for worker in range(self._share.workers):
            if worker in self._running:
                continue
            if not self._waiting or not self._fits(self._waiting[0][0]):
                return
            work, attempt = self._waiting.popleft()
            devices = self._share.devices
            place = Place(self._share.threads, devices[worker] if devices else None)
            since = log_bytes(work.log)
            self._running[worker] = _Running(work, begin_process(work, place), attempt, since)

    def _fits(self, work: Work) -> bool:
        """Whether there is memory for one more; logged once where there is not."""
        held = sum(running.work.memory for running in self._running.values())
        if self._room is None or not work.memory or held + work.memory <= self._room:
            return True
        if not self._running:
            _log.warning(
                "warning: %s is predicted to take %s of memory and %s are free; it runs alone",
                work.key, size(work.memory), size(self._room),
            )  # fmt: skip
        elif not self._told:
            self._told = True
            _log.info(
                "memory    %s needs %s beside %s of what runs, and %s were free; it waits",
                work.key, size(work.memory), size(held), size(self._room),
            )  # fmt: skip
        return not self._running

    def _conclude(self, running: _Running, asked: bool) -> None:
        """Report a job whose process ended, or begin it again; one that was stopped is neither."""
        work, attempt, code = running.work, running.attempt, running.process.returncode
        assert running.process.stdin is not None
        running.process.stdin.close()
        if asked and (code in STOPPED or was_killed(code)):
            return
        if was_killed(code) and attempt <= self._retries:
            _log.warning(
                "warning: the process of %s was ended by signal %d; it goes on in another one",
                work.key, -code if code < 0 else code - 128,
            )  # fmt: skip
            self._waiting.appendleft((work, attempt + 1))
            return
        self._over.append(work)
        message = (
            failure_text(code, work.log, lines_of(work.log, running.since), attempt) if code else ""
        )
        self._ended(Ended(work.key, code, attempt, message))
