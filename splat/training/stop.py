"""Stopping between two steps when a signal asks for it, with nothing lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from splat.core.edit import Change
from splat.core.step import Step
from splat.loop import Run
from splat.system.signals import Heard, listening

_log = logging.getLogger(__name__)


class Stopped(Exception):
    """A signal asked to stop, and the run did, between two steps."""

    def __init__(self, number: int, step: int, path: Path) -> None:
        super().__init__(f"stopped after step {step:,}")
        self.number, self.step, self.path = number, step, path


class Stop:
    """Ends a run between two steps once a signal asked for it, with a checkpoint."""

    def __init__(self, save: Callable[[Run], Path], heard: Heard) -> None:
        self._save, self._heard = save, heard

    @property
    def asked(self) -> bool:
        """Whether a signal asked to stop."""
        return bool(self._heard.number)

    @property
    def number(self) -> int:
        """Number of the signal that came; 0: none."""
        return self._heard.number

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        del step, losses, change
        # Of several processes all stop after the step at which one of them said so.
        number = self._heard.number if run.ranks.alone else run.ranks.asked
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
