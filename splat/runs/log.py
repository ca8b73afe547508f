"""The log of a run: a line of JSON every few steps, and one for every edit and every change."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor

from splat.core.edit import Change
from splat.core.knobs import Command
from splat.core.step import Step
from splat.evaluation.evaluate import view_psnr
from splat.loop import Run
from splat.system.files import replacing, telling_faults
from splat.system.foreign import Broken, Record, content, fits, part, reading, shown

LOG_EVERY = 10
"""Steps between lines: each costs a look at a part of the picture."""

STRATEGY = "strategy_seconds"
"""Key: the part of the seconds so far that the strategy took (`Run.clock`)."""
LOOK = "look_seconds"
"""Key: seconds that a measurement on views took, which are part of the run's but no training."""

COMMAND = "command"
"""Key: a change that was made to the run."""

ROLLED_BACK = "rolled_back"
"""Key: that the run was set back to this step, from which one, why, and to which rates."""

Losses = Mapping[str, Tensor]


class Log:
    """A line of JSON every ten steps, and one for every edit with its births and deaths.

    Changes to the run (`Run.commands`) have a line each too, with the step that they were made at;
    time in which the run was paused (`Run.waited`) does not count.
    """

    def __init__(self, path: Path, step: int = 0, spent: float = 0.0) -> None:
        """Append to the log of a run that is at `step`; lines beyond it are taken back.

        `spent` are seconds that training took before a new log is begun.
        """
        self._path = path
        # Whether the run has the commands of this very step already, only the run knows.
        records = [r for r in read_log(path, step) if COMMAND not in r or r["step"] < step]
        with replacing(path) as draft:
            draft.write_text("".join(json.dumps(record) + "\n" for record in records))
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)
        self._before = max((record.get("seconds", 0.0) for record in records), default=spent)
        self._in_strategy = max((record.get(STRATEGY, 0.0) for record in records), default=0.0)
        self._start = time.monotonic()
        self._step, self._told = step, -1
        self._run: Run | None = None

    def __call__(self, run: Run, step: Step, losses: Losses, change: Change) -> None:
        self._run = run
        self._tell_commands(run, change)
        if change:
            self.write({**self.head(run), "before": change.before, "counts": dict(change.counts)})
        if run.step % LOG_EVERY == 0 or run.over:
            terms = {name: float(loss.detach()) for name, loss in losses.items()}
            self.write(
                {
                    **self.head(run),
                    STRATEGY: round(self._in_strategy + run.clock.seconds, 3),
                    "loss": sum(terms.values()),
                    "terms": terms,
                    "psnr": view_psnr(step),
                    "view": step.batch.name,
                }
            )

    @property
    def seconds(self) -> float:
        """Spent in training so far, those before a resume included."""
        waited = 0.0 if self._run is None else self._run.waited
        return self._before + time.monotonic() - self._start - waited

    def head(self, run: Run) -> dict[str, Any]:
        """The fields that every line begins with: step, Gaussians, seconds."""
        self._run = run
        return {
            "step": run.step,
            "gaussians": run.rows,
            "seconds": round(self.seconds, 3),
        }

    def rolled_back(self, run: Run, step: int, found: str) -> None:
        """A line on a run that was set back from `step`, and why; one begun after it (`Log`) takes
        back what came between, but not its time."""
        spent = {STRATEGY: round(self._in_strategy + run.clock.seconds, 3)}
        record = {"from": step, "found": found, "rate": run.rate}
        self.write({**self.head(run), **spent, ROLLED_BACK: record})

    def _tell_commands(self, run: Run, change: Change) -> None:
        """A line for each command that has none yet."""
        if self._told < 0:
            self._told = sum(command.step < self._step for command in run.commands)
        for command in run.commands[self._told :]:
            # Rows as they were then: edits of the step in between came later.
            rows = run.rows if command.step == run.step else change.before
            self.write({**self.head(run), "gaussians": rows, **line_of(command)})
        self._told = len(run.commands)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record as a line of JSON."""
        self._careful(lambda: self._file.write(json.dumps(record) + "\n"))

    def close(self) -> None:
        """Close the file; nothing can be written after."""
        self._careful(self._file.close)

    def _careful(self, act: Callable[[], object]) -> None:
        with telling_faults(self._path):
            act()


def line_of(command: Command) -> dict[str, Any]:
    """A command as a line of a log, without what only the run knows."""
    record = {"name": command.name, "value": command.value, "before": command.before}
    return {"step": command.step, COMMAND: record}


def renumber(path: Path, was: int, now: int) -> None:
    """Convert the steps of a log from steps of `was` photos to steps of `now` photos."""
    records = [{**r, "step": -(-r["step"] * was // now)} for r in read_log(path)]
    with replacing(path) as draft:
        draft.write_text("".join(json.dumps(record) + "\n" for record in records))


def read_log(path: Path, step: int | None = None) -> list[dict[str, Any]]:
    """The records of a log, up to a step; a last line that was cut off is left out.

    Raises ValueError where another line is none of a log.
    """
    if not path.is_file():
        return []
    records = []
    with reading(path, "the log of a run"):
        lines = content(path).rstrip().splitlines()
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                if number == len(lines):
                    break
                raise Broken(f"line {number} is no JSON; expected a record: delete it") from None
            with part(f"line {number}"):
                if _step_of(Record.of(record)) <= (math.inf if step is None else step):
                    records.append(record)
    return records


def _step_of(record: Record) -> int:
    """The step of a record, whose numbers are numbers; some may be NaN, where a run diverged."""
    measured = [record.get(key) for key in ("loss", "psnr", "test_psnr") if key in record]
    if not fits(measured, list[float | None]):
        raise Broken(f"has measurements {shown(measured)}; expected numbers")
    for key in {"seconds", STRATEGY, LOOK, "before"} & {*record}:
        record.number(key)
    if measured or "gaussians" in record:
        record.whole("gaussians")
    if "counts" in record:
        counts = record.record("counts")
        for key in counts:
            counts.whole(key)
    return record.whole("step")
