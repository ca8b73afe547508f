"""A lock that a process holds for as long as it lives, so that no two work on the same thing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splat.system.files import telling_faults

try:
    import fcntl
except ImportError:  # Windows: there two at once are the user's own business
    fcntl = None  # type: ignore[assignment]

_PAUSE = 0.2
"""Seconds between looks at a lock that is held."""


@contextmanager
def locked(path: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock at `path`; raises ValueError where another process does, after `patience`
    seconds. `what` is locked, for people."""
    with telling_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.open("w")
    with held as file:
        end = time.monotonic() + patience
        while fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise ValueError(
                        f"another process works on {what}; wait for it, or end it"
                    ) from None
                time.sleep(_PAUSE)
        yield
