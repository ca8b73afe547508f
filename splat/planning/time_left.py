"""How long a run still takes: by what its steps took so far, and how large the others will be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

GROWN = 0.5
"""Share of a run after which rows are as many as they will be: where growth ends as published."""
PACE_SPREAD, FIXED_SPREAD = 0.5, 5e-3
"""How far from 1 the factor on predicted times may well be, and from 0 the seconds of a step that
no prediction knows of: standard deviations, before anything was measured."""
NOISE = 0.15
"""Relative deviation of the time that some steps take from what they should take."""
_PARTS = 100
"""Parts of the steps to come whose cost is looked at; it changes slowly."""


class TimeLeft:
    """Predicts the seconds that are left of a run, told from time to time how far it is.

    A step takes factor * cost + fixed: linear regression on what was measured, with a normal prior
    (ridge). Early steps show small pictures of few rows, so that steps left times their mean so far
    is half of what it will take.
    """

    def __init__(
        self, cost: Callable[[int, float], float], steps: int, most: int = 0, step: int = 0
    ) -> None:
        """`cost` is the predicted seconds of a step by its number and its rows, of which there are
        at most `most` (0: as many as there are); the run has `steps`, and is at `step`."""
        self._cost, self._steps, self._most = cost, steps, most
        self._step, self._elapsed = step, 0.0
        weights = np.array([FIXED_SPREAD, PACE_SPREAD]) ** -2.0
        self._squares, self._products = np.diag(weights), weights * [0, 1]

    def at(self, step: int, rows: int, elapsed: float) -> float:
        """Seconds left after `step` steps, with so many rows, `elapsed` seconds after the start."""
        count, seconds = step - self._step, elapsed - self._elapsed
        if count > 0 and seconds > 0:
            cost = sum(self._cost(each, rows) for each in range(self._step, step))
            measured = np.array([count, cost]) / (NOISE * seconds)
            self._squares += np.outer(measured, measured)
            self._products += measured / NOISE
        if count:
            self._step, self._elapsed = step, elapsed
        fixed, factor = np.linalg.solve(self._squares, self._products)
        steps_left = self._steps - step
        return max(0.0, float(fixed)) * steps_left + float(factor) * self._to_come(step, rows)

    def _to_come(self, step: int, rows: int) -> float:
        """Predicted cost of the steps that are left."""
        grown, most = round(GROWN * self._steps), max(rows, self._most)
        stride = max(1, (self._steps - step) // _PARTS)
        total = 0.0
        for each in range(step, self._steps, stride):
            share = (each - step) / (grown - step) if each < grown else 1.0
            count = min(stride, self._steps - each)
            total += count * self._cost(each, rows + share * (most - rows))
        return total
