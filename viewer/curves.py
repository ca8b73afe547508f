"""The curves of a run, as many points as fit a chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.core.edit import SPLIT
from splat.viewer.markdown import plain

MOST = 240
"""Most points of a curve."""
_VERBS = {"append": "born", "drop": "died", "assign": "moved", "overwrite": "reset"}
"""Verbs of edits, in the words of the page."""
NAMES = ("loss", "psnr", "test_psnr", "gaussians", "born", "died")


class Curves:
    """Curves over the steps: rows of numbers, NaN where one is not known."""

    def __init__(self) -> None:
        self._points: list[tuple[int, list[float]]] = []
        self.stride = 1
        """Of so many records given, one is kept."""
        self._given = 0

    def add(self, step: int, **numbers: float) -> None:
        """Add the numbers of a step; where there are too many, every second row is dropped."""
        self._given += 1
        if (self._given - 1) % self.stride:
            return
        self._points.append((step, [float(numbers.get(name, np.nan)) for name in NAMES]))
        if len(self._points) > MOST:
            self._points = self._points[::2]
            self.stride *= 2

    def beyond(self, step: int) -> None:
        """Drop what came after a step, which a run that was set back makes anew."""
        self._points = [(at, row) for at, row in self._points if at <= step]

    @property
    def count(self) -> int:
        """Number of records ever added."""
        return self._given

    def knows(self, *names: str) -> bool:
        """Whether there is any number of these curves."""
        places = [NAMES.index(name) for name in names]
        return any(not np.isnan(row[i]) for _, row in self._points[:] for i in places)

    def data(self, *names: str) -> tuple[NDArray[np.float64], ...]:
        """Steps, and a curve of each name; two points at least, so that there is a chart."""
        points = self._points[:]  # another thread may add to it
        if len(points) < 2:
            points = [(0, [np.nan] * len(NAMES)), (1, [np.nan] * len(NAMES))]
        table = np.array([row for _, row in points], np.float64)
        columns = [table[:, NAMES.index(name)] for name in names]
        steps = np.array([step for step, _ in points], np.float64)
        return (steps, *(_filled(column) for column in columns))


def of_log(records: Iterable[Mapping[str, Any]]) -> Curves:
    """The curves of the log of a run."""
    curves = Curves()
    born = died = 0
    for record in records:
        for name, rows in record.get("counts", {}).items():
            verb, _, reason = name.partition(":")
            born += rows if verb == "append" else 0
            died += rows if verb == "drop" and reason != SPLIT else 0
        measured = {name: record.get(name) for name in ("loss", "psnr", "test_psnr")}
        numbers = {name: value for name, value in measured.items() if value is not None}
        if numbers:
            curves.add(
                record["step"], gaussians=record["gaussians"], born=born, died=died, **numbers
            )
    return curves


def events_of_log(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the log of a run knows of its events, a line of Markdown each: rows by reason, with the
    steps between which they came and went, and what was changed."""
    rows: dict[str, Counter[str]] = {verb: Counter() for verb in _VERBS}
    steps: dict[tuple[str, str], list[int]] = {}
    changed = []
    for record in records:
        for name, count in record.get("counts", {}).items():
            verb, _, reason = name.partition(":")
            if verb in rows and count and (verb, reason) != ("drop", SPLIT):
                rows[verb][reason] += count
                steps.setdefault((verb, reason), []).append(record["step"])
        if command := record.get("command"):
            changed.append(f"{command['name']} = {command['value']:g} at {record['step']:,}")
        if "rolled_back" in record:
            changed.append(f"set back to {record['step']:,}")
    lines = []
    for verb, said in _VERBS.items():
        parts = []
        for reason, count in rows[verb].most_common():
            at = steps[verb, reason]
            when = f"at {at[0]:,}" if at[0] == at[-1] else f"from {at[0]:,} to {at[-1]:,}"
            parts.append(f"{plain(reason)} {count:,} ({when})")
        if parts:
            lines.append(f"{said}: {', '.join(parts)}")
    return lines + ([f"changed: {plain(', '.join(changed))}"] if changed else [])


def _filled(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """The column with gaps filled by the last number before them."""
    present = ~np.isnan(column)
    if not present.any():
        return np.zeros_like(column)
    last = np.maximum.accumulate(np.where(present, np.arange(len(column)), -1))
    return np.where(last >= 0, column[last], column[present.argmax()])
