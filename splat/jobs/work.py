"""Interface of engines: jobs, results, and the engine itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Work:
    """A job: a function of a module, called with strings in a process of its own.

    The function takes the sequence of `arguments` and returns an exit code: 0 where all is done,
    128 + n where signal n stopped it with a checkpoint. It may raise: `splat.training.stop.Stopped`
    is such a stop, all else a failure that is told in a sentence. Where its process was killed it
    is called again, and goes on from the checkpoints that it left; so it must be safe to call
    twice. No two processes call it for the same `log` at once.
    """

    key: str
    """Unique name of the job."""
    call: str
    """The function, as `module:function`, such as `splat.comparison.worker:main`."""
    arguments: tuple[str, ...]
    log: Path
    """Its output is appended here. Its folder is made."""
    steps: int
    """Number of its steps, for the progress."""
    progress: Path | None = None
    """A file with a record of JSON a line; "step" of the last one says how far it is."""
    memory: int = 0
    """Bytes that it is predicted to hold at its peak; 0: unknown."""


@dataclass(frozen=True)
class Ended:
    """A job that is over: done, or failed for good."""

    key: str
    code: int
    """The last exit code of its process; 0: done, -n: signal n ended it."""
    attempts: int
    """Number of processes that were begun for it this time."""
    message: str = ""
    """Why it failed, a sentence for people; empty where it did not."""


@dataclass(frozen=True)
class Share:
    """Resources of each of several jobs at once."""

    workers: int
    """Jobs at once; 0: one after the other in this process."""
    threads: int
    """CPU threads of each job."""
    devices: tuple[str, ...] = ()
    """One CUDA device a worker, as CUDA_VISIBLE_DEVICES names them; empty on the CPU."""


class Interrupted(Exception):
    """A signal asked to stop; what was running has written checkpoints."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


class Engine(Protocol):
    """Carries out jobs that do not depend on each other."""

    def run(
        self, works: Sequence[Work], ended: Callable[[Ended], None], *, quiet: bool = False
    ) -> None:
        """Carry out all jobs, in their order as workers are free; report each that is over.

        Raises `Interrupted` where a signal asked to stop and ValueError where two have one key.
        Jobs that were stopped, or not begun, are not told of.
        """
        ...


def check_unique(works: Sequence[Work]) -> None:
    """Raise ValueError where two jobs have the same key or the same log."""
    for kind, values in (
        ("key", [work.key for work in works]),
        ("log", [str(work.log) for work in works]),
    ):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(
                f"two jobs have the {kind} {twice[0]}; expected another one for each: rename one"
            )
