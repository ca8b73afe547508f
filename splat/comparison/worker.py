"""The job of one run of a comparison, which `splat.comparison.crew` sends."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from pathlib import Path

from splat.comparison import runs
from splat.comparison.plan import read_plan
from splat.system import errors
from splat.training.stop import Stopped

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Carry out a run and record why it failed, if it did; the exit code.

    The arguments are the folder of the comparison, the key of the run, runs at once, its threads,
    and bytes for photos; 0: as many as the machine has room for. Raises `Stopped` where a signal
    stopped it, with a checkpoint.
    """
    out, key = Path(arguments[0]), arguments[1]
    at_once, threads, cache = map(int, arguments[2:5])
    plan = read_plan(out)
    assert plan is not None
    entry = next(entry for entry in plan.entries() if entry.key == key)
    try:
        if not runs.trained(plan, out, entry):  # what is only measured now has its times already
            runs.begins(out, entry, at_once)
        runs.carry_out(plan, out, entry, threads=threads or None, cache=cache or None)
    except Stopped:
        raise
    except Exception as error:
        # A strategy may raise anything; the other runs go on.
        explanation = errors.told(error, runs.log_of(out, entry).name)
        if not errors.of_disk(error):
            _log.warning("%s", traceback.format_exc())
        runs.failed(
            out, entry, explanation[1] if explanation else f"{type(error).__name__}: {error}"
        )
        return errors.FAILED
    return 0
