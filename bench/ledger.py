"""Where wall time goes: accounts that are open one within another, each with what is its own.

Time of the native kernels is taken out of whichever account is open and booked by stage.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from splat import kernels


@dataclass
class _Open:
    name: str
    start: float
    stages: float
    """Seconds of all stages when it was opened."""
    inner: float = 0.0
    """Seconds of the accounts that were open within it, their kernels left out."""


@dataclass
class Ledger:
    """Seconds of each phase by account, and by stage of the kernels."""

    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    """By phase and account; kernels and inner accounts left out."""
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    """By phase and stage."""
    phases: dict[str, float] = field(default_factory=dict)
    """Wall clock of each phase, all included."""
    bookings: int = 0
    _open: list[_Open] = field(default_factory=list)
    _phases: list[str] = field(default_factory=lambda: ["none"])

    def enter(self, name: str) -> None:
        """Open an account."""
        self._open.append(_Open(name, time.perf_counter(), kernels.seconds()))

    def leave(self) -> None:
        """Close the one that was opened last."""
        now, stages = time.perf_counter(), kernels.seconds()
        done = self._open.pop()
        alone = now - done.start - (stages - done.stages)
        kept = self.seconds.setdefault(self._phases[-1], {})
        kept[done.name] = kept.get(done.name, 0.0) + alone - done.inner
        self.bookings += 1
        if self._open:
            self._open[-1].inner += alone

    @property
    def open_account(self) -> str | None:
        """The account that was opened last and is not closed yet."""
        return self._open[-1].name if self._open else None

    @contextmanager
    def booked(self, name: str) -> Iterator[None]:
        """An account for the length of a block."""
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase of the command; what it does itself is booked under its name."""
        start, before = time.perf_counter(), kernels.stage_seconds()
        self._phases.append(name)
        with self.booked(name):
            yield
        self._phases.pop()
        self.phases[name] = self.phases.get(name, 0.0) + time.perf_counter() - start
        kept = self.stages.setdefault(name, {})
        for stage, seconds in kernels.stage_seconds().items():
            kept[stage] = kept.get(stage, 0.0) + seconds - before[stage]

    def booking(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function with its time booked."""

        @wraps(call)
        def booked(*arguments: Any, **named: Any) -> Any:
            self.enter(name)
            try:
                return call(*arguments, **named)
            finally:
                self.leave()

        return booked


class Wrapped:
    """An object whose calls are booked; all else of it is its own."""

    def __init__(self, ledger: Ledger, name: str, inner: Any) -> None:
        self._inner, self._call = inner, ledger.booking(name, inner.__call__)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._call(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def booking_seconds(times: int = 2000) -> float:
    """What one booking costs."""
    ledger = Ledger()
    call = ledger.booking("nothing", lambda: None)
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times
