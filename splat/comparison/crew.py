"""Runs carried out, as many at once as the machine has room for, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from splat import machine
from splat.comparison import runs
from splat.comparison.plan import Entry, Plan
from splat.comparison.worker import attempted
from splat.plan import cache_bytes
from splat.stop import Heard, listening

Ended = Callable[[Entry], None]
"""Told of every run that is over, done or failed."""

PAUSE, LOOK = 0.1, 1.0
"""Seconds between looks after the processes, and after how far they are."""
_TAIL = 4096
"""Bytes at the end of a log in which there is a whole line."""

WARNING = "stopping with checkpoints; once more to stop at once, without"


class Interrupted(Exception):
    """A signal asked to stop; what was running has written checkpoints."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


@dataclass(frozen=True)
class Share:
    """What each of some runs at once gets."""

    workers: int
    """Runs at once; 0: one after the other in this process."""
    threads: int
    """On the CPU, of one run."""
    devices: tuple[str, ...] = ()
    """One CUDA device a worker, as CUDA_VISIBLE_DEVICES names them; empty on the CPU."""


def share_of(device: str, workers: int | None, threads: int | None, runs: int) -> Share:
    """How many runs at once: as many as there are GPUs, or as cores allow for their threads."""
    cores, devices = machine.cores(), _devices() if device == "cuda" else ()
    if workers is None:
        workers = len(devices) if devices else max(1, cores // (threads or cores))
    if devices and workers > len(devices):
        raise ValueError(
            f"workers is {workers} and there are {len(devices)} CUDA devices; expected at most one"
            " worker for each"
        )
    workers = min(workers, max(1, runs))
    return Share(workers, threads or max(1, cores // max(1, workers)), devices[:workers])


def carried_out(
    plan: Plan, out: Path, entries: Sequence[Entry], share: Share, ended: Ended, quiet: bool
) -> None:
    """Carry out runs in their order; raises Interrupted where a signal asks to stop."""
    if share.workers == 0:
        for entry in entries:
            runs.begins(out, entry, 0)
            if (code := attempted(plan, out, entry, share.threads)) > 128:
                raise Interrupted(code - 128)
            ended(entry)
        return
    crew = _Crew(plan, out, share)
    steps = plan.shared.options.steps or 0
    shown = not quiet and sys.stderr.isatty()
    with (
        listening(WARNING) as heard,
        tqdm(
            total=steps * len(entries), unit=" step", dynamic_ncols=True, disable=not shown
        ) as bar,
    ):
        crew.work(entries, heard, ended, lambda over: bar.update(over - bar.n))
    if heard.number:
        raise Interrupted(heard.number)


class _Crew:
    """Processes of runs."""

    def __init__(self, plan: Plan, out: Path, share: Share) -> None:
        self._plan, self._out, self._share = plan, out, share
        self._running: dict[int, tuple[Entry, subprocess.Popen[bytes]]] = {}
        self._cache = cache_bytes() // share.workers

    def work(
        self,
        entries: Sequence[Entry],
        heard: Heard,
        ended: Ended,
        shown: Callable[[int], object],
    ) -> None:
        """Start what is waiting wherever a worker is free, until all is over."""
        waiting, over, looked = deque(entries), 0, 0.0
        steps, asked = self._plan.shared.options.steps or 0, False
        try:
            while self._running or (waiting and not heard.number):
                for slot in range(self._share.workers):
                    if slot not in self._running and waiting and not heard.number:
                        self._running[slot] = self._started(waiting.popleft(), slot)
                if heard.number and not asked:
                    asked = True
                    for _, process in self._running.values():
                        process.terminate()
                for slot, (entry, process) in list(self._running.items()):
                    if process.poll() is not None:
                        del self._running[slot]
                        over += 1
                        if self._concluded(entry, process, asked):
                            ended(entry)
                if time.monotonic() - looked > LOOK:
                    looked = time.monotonic()
                    current = (self._steps(entry) for entry, _ in self._running.values())
                    shown(over * steps + sum(current))
                time.sleep(PAUSE)
        finally:
            for _, process in self._running.values():
                process.kill()

    def _started(self, entry: Entry, slot: int) -> tuple[Entry, subprocess.Popen[bytes]]:
        share, log = self._share, runs.log_of(self._out, entry)
        runs.begins(self._out, entry, share.workers)
        threads = str(share.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        if share.devices:
            environment["CUDA_VISIBLE_DEVICES"] = share.devices[slot]
        # With -m a folder named splat where one works would be found before the one in use.
        code = f"import sys; sys.path[:] = {sys.path!r}; from splat.comparison import worker;"
        command = [sys.executable, "-c", f"{code} sys.exit(worker.main(sys.argv[1:]))"]
        with log.open("ab") as sink:
            # In a session of its own a Ctrl-C does not reach it: we ask it to stop, and wait.
            process = subprocess.Popen(
                [*command, str(self._out), entry.key, threads, str(self._cache)],
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        return entry, process

    def _concluded(self, entry: Entry, process: subprocess.Popen[bytes], asked: bool) -> bool:
        """Whether a run whose process ended is over; one that was stopped is not."""
        assert process.stdin is not None
        process.stdin.close()
        code = process.returncode
        if code == 0 and runs.state_of(self._plan, self._out, entry) == "done":
            return True
        if asked and abs(code) in (signal.SIGTERM, 128 + signal.SIGTERM):
            return False
        if not runs.note_of(self._out, entry).failed:
            runs.failed(self._out, entry, _end_said(code, runs.log_of(self._out, entry)))
        return True

    def _steps(self, entry: Entry) -> int:
        """How far a run is, by its log."""
        try:
            with runs.folder_of(self._out, entry).log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                line = file.read().splitlines()[-1]
            step: int = json.loads(line)["step"]
        except (OSError, ValueError, LookupError):
            return 0
        return step


def _end_said(code: int, log: Path) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed; perhaps memory ran out: try fewer --workers"
    if code < 0:
        return f"its process was ended by signal {-code}; see {log.name}"
    return f"its process ended with exit code {code}; see {log.name}"


def _devices() -> tuple[str, ...]:
    """CUDA devices that this process may use, by name."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    listed = tuple(part.strip() for part in named.split(",") if part.strip())
    return listed or tuple(str(i) for i in range(torch.cuda.device_count()))
