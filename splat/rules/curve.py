"""Budget curves: the number of rows as a function of the share of a growth phase."""

from __future__ import annotations

import math
from typing import Literal

from splat.core.schedule import times_due

Curve = Literal["linear", "parabola", "sqrt"]
"""linear: in equal parts (LiteGS); parabola: fast at first (Taming 3DGS); sqrt: faster still, and
without regard to the rows at the start (Improved-GS)."""
_ROUNDING = 1e-6
"""Added before rounding down, so that rounding of a sum costs no row."""


def target(curve: Curve, start: int, budget: int, u: float) -> int:
    """Rows to have at the share `u` of a growth phase, from `start` to `budget`.

    S + (B - S) u; S + (B - S)(2u - u^2) (Mallick et al. 2024, eq. 2); B sqrt(u).
    """
    u = min(max(u, 0.0), 1.0)
    if curve == "sqrt":
        return int(budget * math.sqrt(u) + _ROUNDING)
    gained = u if curve == "linear" else 2 * u - u**2
    return budget if start >= budget else int(start + (budget - start) * gained + _ROUNDING)


def share(done: int, start: int, stop: int, every: int) -> float:
    """Share of a growth phase that is over with the refinement at step `done`.

    The phase has a refinement at each multiple of `every` between `start` and `stop`, all of them
    equal parts of it; with the last one its share is 1.
    """
    whole = times_due(start, stop, every, stop)
    return times_due(start, stop, every, done) / max(whole, 1)


def room(rows: int, doomed: int, target: int) -> int:
    """How many rows may be added where `doomed` of them are about to be pruned."""
    return max(target - (rows - doomed), 0)
