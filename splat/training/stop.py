"""Stopping between two steps when a signal asks for it, with nothing lost."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from torch import Tensor

from splat.core.edit import Change
from splat.loop import Run
from splat.types import Step

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """A signal asked to stop, and the run did, between two steps."""

    def __init__(self, number: int, step: int, path: Path) -> None:
        super().__init__(f"stopped after step {step:,}")
        self.number, self.step, self.path = number, step, path


@dataclass
class Heard:
    """The signal that came; 0: none."""

    number: int = 0


class Stop:
    """Ends a run between two steps once a signal asked for it, with a checkpoint."""

    def __init__(self, save: Callable[[Run], Path], heard: Heard) -> None:
        self._save, self._heard = save, heard

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return bool(self._heard.number)

    @property
    def number(self) -> int:
        """The signal that came; 0: none."""
        return self._heard.number

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        del step, losses, change
        # Of several processes all stop after the step at which one of them said so.
        number = self._heard.number if run.ranks is None else run.ranks.asked
        if number and not run.over:
            raise Stopped(number, run.step, self._save(run))


@contextmanager
def stoppable(save: Callable[[Run], Path], *, silent: bool = False) -> Iterator[Stop]:
    """Within, the first Ctrl-C or SIGTERM is left to `Stop`; `save` writes the checkpoint.

    `silent`: nothing is said of it, for who started several processes says enough.
    """
    warning = "stopping after this step; once more to stop at once, without a checkpoint"
    with listening("" if silent else warning) as heard:
        yield Stop(save, heard)


@contextmanager
def listening(warning: str) -> Iterator[Heard]:
    """Within, the first Ctrl-C or SIGTERM is noted only, with a warning; a second one ends at once.

    Outside the main thread signals do what they always do.
    """
    heard = Heard()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        heard.number = number
        for each in numbers:
            signal.signal(each, before[each])
        if warning:
            _log.warning("%s", warning)

    for number in numbers:
        signal.signal(number, note)
    try:
        yield heard
    finally:
        for number in numbers:
            signal.signal(number, before[number])
