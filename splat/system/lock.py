"""A lock that a process holds for as long as it lives, so that no two work on the same thing."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from splat.system.files import telling_faults

try:
    import fcntl
except ImportError:  # Windows: there two at once are the user's own business
    fcntl = None  # type: ignore[assignment]

_OPENED = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_PAUSE = 0.2
"""Seconds between looks at a lock that is held."""


@contextmanager
def locked(path: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock at `path`; raises ValueError where another process does, after `patience`
    seconds. `what` is locked, for people.

    It ends with the process, however that ends; a file that a kill leaves locks nothing.
    """
    end = time.monotonic() + patience
    while (handle := _taken(path)) is None:
        if time.monotonic() >= end:
            raise ValueError(f"{_holder(path)} works on {what}; wait for it, or end it")
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _taken(path: Path) -> int | None:
    """The handle of a lock that is held from now on; None: another process holds it."""
    with telling_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder may come from a stranger: no link is followed, no pipe waited for.
        handle = os.open(path, _OPENED, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError(f"{path} is no file; expected a lock of splat, or nothing: delete it")
    if fcntl is None:
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it may have removed it meanwhile, and another have made it anew.
        if path.stat().st_ino == os.fstat(handle).st_ino:
            with suppress(OSError):
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # a disk that knows no locks
        return handle
    os.close(handle)
    return None


def _holder(path: Path) -> str:
    """The process that holds a lock, for people."""
    try:
        number = path.read_text()
    except OSError:
        number = ""
    return f"another process ({number})" if number.isdigit() else "another process"
