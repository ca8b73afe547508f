"""What a worker of Ray does for a job: begin its process, wait, and say how it ended.

A process of its own gives every job an interpreter that held nothing before, and the worker a child
that outlives it long enough to write a checkpoint. Torch is loaded there only.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import splat
from splat.jobs.process import Place, begin_process, failure_text, lines_of, log_bytes
from splat.jobs.work import Work

PAUSE = 0.1
"""Seconds between looks at the process, when an interruption by Ray is noticed, too."""
PATIENCE = 10.0
"""Seconds that a shared file system may take to show a file of another machine."""
BAD_INPUT = 2
"""Exit code of a job that was not begun, since this machine cannot carry it out."""


@dataclass(frozen=True)
class SentJob:
    """A job as it is sent to a worker."""

    work: Work
    place: Place
    version: str
    """Version of splat that sent it."""


def run_job(asked: SentJob) -> tuple[int, str]:
    """Carry out a job in a process; its exit code and, where that is not 0, the reason.

    An interruption (`ray.cancel`) asks the process to stop with a checkpoint, and waits for it.
    """
    if reason := _unfit(asked):
        return BAD_INPUT, reason
    folder = Path(asked.place.folder or ".")
    log = folder / asked.work.log
    since = log_bytes(log)
    path = asked.place.path or _path(folder)
    process = begin_process(asked.work, replace(asked.place, path=path))
    stopping = False
    try:
        with _interrupted() as interrupted:
            while process.poll() is None:
                if interrupted.is_set() and not stopping:
                    stopping = True
                    process.terminate()
                time.sleep(PAUSE)
    finally:
        if process.poll() is None:
            process.terminate()
        assert process.stdin is not None
        process.stdin.close()
    code = process.returncode
    return code, "" if stopping or not code else failure_text(code, log, lines_of(log, since), 1)


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """Within, an interruption is noted only.

    Ray interrupts as Ctrl-C does, which workers ignore whose cluster was started in the background.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _unfit(asked: SentJob) -> str:
    """Why this machine cannot carry the job out; empty where it can."""
    node, folder = platform.node(), Path(asked.place.folder or ".")
    if asked.version != splat.__version__:
        return (
            f"{node} has splat {splat.__version__} and the job was sent by {asked.version};"
            " expected the same on all machines of the cluster: install it there"
        )
    end = time.monotonic() + PATIENCE
    while not (folder / asked.work.log).is_file():
        if time.monotonic() > end:
            return (
                f"{(folder / asked.work.log).parent} is not seen from {node}; expected a folder on"
                " a file system that all machines of the cluster share: put the scene and --out on"
                " one"
            )
        time.sleep(PAUSE)
    return ""


def _path(folder: Path) -> tuple[str, ...]:
    """The search path of modules without the folder that Ray adds: it may hold a `splat`."""
    return tuple(p for p in sys.path if os.path.realpath(p) != os.path.realpath(folder))
