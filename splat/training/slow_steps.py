"""A watcher that names the cause where steps become much slower than they were."""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping

from torch import Tensor

from splat.core.edit import Change
from splat.core.step import Step
from splat.loop import Run
from splat.system import machine
from splat.system.machine import Toll
from splat.system.text import size

HUNDRED = 100
"""Steps whose median time is what a step usually takes."""
LEAST = 20
"""Steps before which nothing is known to be usual."""
SLOW = 10.0
"""Times the usual from which a step is slow."""
MINUTE = 60.0
"""Seconds for which steps must be slow, one after the other, to be spoken of."""
IN_A_ROW = 3
"""Least number of them: one step is as slow where held-out photos are looked at after it."""
NOTED_EVERY = 10.0
"""Seconds between looks at what the machine does, while steps are as usual."""
SWAPS = 1 << 20
"""Bytes a second from which the machine is said to swap."""
CROWDED, MORE = 0.25, 1.5
"""Share of the cores that others take to be named, and how many times as much as before."""
GROWN = 2.0
"""Times as many rows as before from which they are named."""

_log = logging.getLogger(__name__)


class SlowSteps:
    """Warns where steps take ten times the median of the last hundred, for a minute, and says why:
    swapping, other programs, growth of what is trained. Once for each cause; it only looks on.
    """

    def __init__(
        self,
        every: int = 1,
        *,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[], Toll] = machine.toll,
    ) -> None:
        """Steps are timed by so many: on CUDA only those that wait for the device tell the time."""
        self._every, self._clock, self._read = every, clock, read
        self._took: deque[float] = deque(maxlen=max(1, HUNDRED // every))
        self._usual = 0.0
        self._at: float | None = None
        """When the steps that are timed now began, without pauses."""
        self._slow: list[float] = []
        """Seconds of the last steps, as far as they were slow one after the other."""
        self._begun = read()
        """What the machine had done when the first of them was over."""
        self._noted: deque[tuple[Toll, int]] = deque(maxlen=2)
        """What the machine had done, and the number of rows, while steps were as usual."""
        self._told: set[frozenset[str]] = set()

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        del step, losses, change
        if run.step % self._every:
            return
        now, before = self._clock() - run.waited, self._at
        self._at = now
        if before is None:
            return
        took = (now - before) / self._every
        if len(self._took) * self._every < LEAST or took <= SLOW * self._usual:
            self._slow.clear()
            self._note(run, took)
            return
        self._begun = self._begun if self._slow else self._read()
        self._slow.append(took)
        if len(self._slow) >= IN_A_ROW and self._every * sum(self._slow) >= MINUTE:
            self._tell(run)
            # That is what is usual from here on.
            self._took.clear()
            self._slow.clear()

    def _note(self, run: Run, took: float) -> None:
        """Take a step for a usual one."""
        self._took.append(took)
        if run.step // self._every % 10 == 0 or len(self._took) * self._every <= LEAST:
            self._usual = statistics.median(self._took)
            if not self._noted or self._clock() - self._noted[-1][0].at >= NOTED_EVERY:
                self._noted.append((self._read(), len(run.model.cloud)))

    def _tell(self, run: Run) -> None:
        causes = self._causes(run)
        kinds = frozenset(causes)
        if kinds in self._told:
            return
        self._told.add(kinds)
        slow, since = statistics.median(self._slow), run.step - self._every * len(self._slow)
        _log.warning(
            "warning: since step %s a step takes %.3g s, %.0f times the usual %.3g s: %s",
            f"{since:,}", slow, slow / max(self._usual, 1e-9), self._usual,
            "; ".join(causes.values()),
        )  # fmt: skip

    def _causes(self, run: Run) -> dict[str, str]:
        """Causes by their kinds, in words; there is one at least."""
        first, now, rows = self._begun, self._read(), self._noted[-1][1]
        causes = {}
        swaps = _rate(first.swapped, now.swapped, first, now)
        if swaps is not None and swaps >= SWAPS:
            causes["swap"] = (
                f"the machine swaps, {size(int(swaps))} a second, for want of memory; lower --cap"
                " or --cache, or end other programs"
            )
        if len(run.model.cloud) >= GROWN * rows:
            causes["growth"] = f"{rows:,} {run.model.unit} became {len(run.model.cloud):,}"
        others, usual = _others(first, now), _others(self._noted[0][0], self._noted[-1][0])
        if others is not None and others >= max(CROWDED * now.cores, MORE * (usual or 0.0)):
            causes["load"] = f"other programs take {others:.1f} of the {now.cores} cores"
        if causes:
            return causes
        if swaps is None and others is None:
            why = "the cause is not known, as this system does not say what it does"
        else:
            why = (
                "the cause is not known; it is neither swapping, nor other programs, nor growth of"
                " what is trained"
            )
        return {"unknown": why}


def _rate(before: float | None, after: float | None, first: Toll, second: Toll) -> float | None:
    """Growth a second between two readings; None: not known."""
    if before is None or after is None or second.at <= first.at:
        return None
    return (after - before) / (second.at - first.at)


def _others(first: Toll, second: Toll) -> float | None:
    """Cores that other programs took between two readings; None: not known."""
    busy = _rate(first.busy, second.busy, first, second)
    own = _rate(first.own, second.own, first, second)
    return None if busy is None or own is None else max(0.0, busy - own)
