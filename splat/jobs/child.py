"""The process of a job."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from splat.jobs.process import FAILED
from splat.system import errors
from splat.system.lock import locked

PATIENCE = 60.0
"""Seconds to wait for an earlier process of the same job that is about to end."""

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Call a job, from what is called, its log and its own arguments; the exit code.

    128 + n: signal n stopped it, with a checkpoint. Why it failed is said in the last line.
    """
    call, log, *own = arguments
    errors.speak(quiet=False)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code, why = call_job(call, Path(log), own)
    if why:
        print(f"{FAILED}{why}", file=sys.stderr, flush=True)
    return code


def call_job(call: str, log: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Call a job in this process, while no other one does; the exit code and the reason of a
    failure."""
    try:
        with locked(log.with_name(f".{log.name}.lock"), f"the job of {log}", PATIENCE):
            return _function(call)(arguments), ""
    except Exception as error:
        if number := _stopped_by(error):
            return 128 + number, ""
        # A strategy may raise anything; the other jobs go on.
        if not errors.of_disk(error):
            _log.warning("%s", traceback.format_exc())
        explanation = errors.told(error, log.name)
        return errors.FAILED, explanation[1] if explanation else f"{type(error).__name__}: {error}"


def _stopped_by(error: Exception) -> int:
    """The signal that stopped a job; 0: the error is another one."""
    # One that waits for its lock, or does not train, holds no torch in memory.
    stop = sys.modules.get("splat.training.stop")
    return error.number if stop is not None and isinstance(error, stop.Stopped) else 0


def _function(call: str) -> Callable[[Sequence[str]], int]:
    module, _, name = call.partition(":")
    function: Callable[[Sequence[str]], int] | None = getattr(import_module(module), name, None)
    if function is None:
        raise ValueError(f"{call}: there is no {name!r} in {module}; expected module:function")
    return function


def _end_with_parent() -> None:
    """Send this process SIGTERM once the other end of stdin is closed, for whatever reason."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
