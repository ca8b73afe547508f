"""A process of one run, which `splat.comparison.crew` begins."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from splat.cli import errors
from splat.comparison import runs
from splat.comparison.lock import locked
from splat.comparison.plan import Entry, Plan, read_plan
from splat.stop import Stopped

PATIENCE = 60.0
"""Seconds to wait for a process that was working on the same run and is about to end."""
FAILED = 1

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Carry out a run; the exit code. 128 + n: a signal n stopped it, with a checkpoint.

    The arguments are the folder of the comparison, the key of the run, its threads, and bytes for
    photos.
    """
    out, key, threads, cache = Path(arguments[0]), *arguments[1:4]
    errors.speak(quiet=False)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    plan = read_plan(out)
    assert plan is not None
    entry = next(entry for entry in plan.entries() if entry.key == key)
    place = runs.folder_of(out, entry).path
    with locked(place.with_name(f".{place.name}.lock"), str(place), PATIENCE):
        return attempted(plan, out, entry, int(threads) or None, int(cache) or None)


def attempted(
    plan: Plan, out: Path, entry: Entry, threads: int | None, cache: int | None = None
) -> int:
    """Carry out a run and note why it failed, if it did; the exit code."""
    try:
        runs.carry_out(plan, out, entry, threads=threads, cache=cache)
    except Stopped as stop:
        return 128 + stop.number
    except Exception as error:
        # A strategy may raise anything; the other runs go on.
        _log.warning("%s", traceback.format_exc())
        found = errors.explained(error)
        runs.failed(out, entry, found[1] if found else f"{type(error).__name__}: {error}")
        return FAILED
    return 0


def _end_with_parent() -> None:
    """Stop with a checkpoint once the other end of stdin is gone, however it went."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
