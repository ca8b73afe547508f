"""Processes of jobs as their parent sees them: on this machine, or in a worker of Ray."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splat.jobs.work import Work
from splat.system.import_path import vouchers

BEGUN, FAILED = "--- begun ", "failed: "
"""Prefixes of lines of a log: the begin of a process, and the reason of a failure."""
STOPPED = (-signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit codes of a process that was asked to stop."""


@dataclass(frozen=True)
class Place:
    """Environment of the process of a job."""

    threads: int
    device: str | None = None
    """Value of CUDA_VISIBLE_DEVICES; None: as it is for the parent."""
    folder: str | None = None
    """Working directory; None: that of the parent."""
    path: tuple[str, ...] | None = None
    """Search path of modules; None: that of the parent."""
    variables: tuple[tuple[str, str], ...] = ()
    """More variables of the environment, names with values."""


def begin_process(work: Work, place: Place) -> subprocess.Popen[bytes]:
    """Start a process that carries out a job; it stops, with a checkpoint, when its stdin is
    closed."""
    environment = {
        **os.environ,
        **dict((*vouchers(), *place.variables)),
        "OMP_NUM_THREADS": str(place.threads),
    }
    if place.device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = place.device
    # With -m a folder named splat where one works would be found before the one in use.
    path = sys.path if place.path is None else list(place.path)
    code = f"import sys; sys.path[:] = {path!r}; from splat.jobs import child;"
    command = [sys.executable, "-c", f"{code} sys.exit(child.main(sys.argv[1:]))"]
    log = work.log if place.folder is None else Path(place.folder) / work.log
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        sink.write(f"{BEGUN}{now} on {platform.node()}\n".encode())
        sink.flush()
        # In a session of its own a Ctrl-C does not reach it: we ask it to stop, and wait.
        return subprocess.Popen(
            [*command, work.call, str(work.log), *work.arguments],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=place.folder,
            start_new_session=True,
        )


def log_bytes(log: Path) -> int:
    """Size of a log, bytes; 0 where there is none."""
    return log.stat().st_size if log.is_file() else 0


def lines_of(log: Path, since: int) -> list[str]:
    """Lines of a log after so many bytes of it."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(since)
        return file.read().decode(errors="replace").splitlines()


def was_killed(code: int) -> bool:
    """Whether a process was ended by a signal that was not ours."""
    return code < 0 or code > 128


def failure_text(code: int, log: Path, lines: Sequence[str], attempts: int) -> str:
    """The reason of a failure, by the exit code of the process and the lines of its log."""
    reasons = [line for line in lines if line.startswith(FAILED)]
    if reasons and not was_killed(code):
        return reasons[-1].removeprefix(FAILED)
    times = f" ({attempts} attempts)" if attempts > 1 else ""
    if code == -signal.SIGKILL:
        return f"its process was killed; perhaps memory ran out: try fewer --workers{times}"
    if was_killed(code):
        number = -code if code < 0 else code - 128
        return f"its process was ended by signal {number}; see {log.name}{times}"
    return f"its process ended with exit code {code}; see {log.name}{times}"
