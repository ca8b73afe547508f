"""Published step numbers belong to runs of 30,000 steps; these functions fit them to others.

Steps are counted as done: 1 after the first. `start` and `stop` are both excluded, as in the
published code, so that `500, 15_000, 100` means 600, 700, ..., 14,900.
"""

from __future__ import annotations

PUBLISHED_STEPS = 30_000
SHORTEST_INTERVAL = 50
SHORTEST_RESET_INTERVAL = 200
"""Opacity climbs from 0.01 back to 0.5 in about 100 steps; as many are left to use it."""
QUIET_TAIL = 0.15
"""Share of a run, at its end, into which no opacity reset may fall."""
FULL_SHARE = 0.6
"""Share of a growth phase after which a cap is to be reached."""


def at(published: int, steps: int) -> int:
    """A start, an end or a one-off step of a 30,000-step run, in a run of `steps`."""
    return round(published * steps / PUBLISHED_STEPS)


def every(published: int, steps: int) -> int:
    """An interval of a 30,000-step run, in a run of `steps`; never below 50 steps."""
    return max(at(published, steps), min(published, SHORTEST_INTERVAL))


def stands_for(published: int, steps: int) -> float:
    """How many published intervals one of `every(published, steps)` stands for, at least 1.

    Intervals shrink less than a short run: what would be several refinements is one.
    """
    return max(1.0, every(published, steps) * PUBLISHED_STEPS / (published * steps))


def compounded(share: float, times: float) -> float:
    """Compound growth: the share that `times` growths by a share add up to, at most 1."""
    return share if times == 1 else min((1 + share) ** times - 1, 1.0)


def resets_every(published: int, steps: int) -> int:
    """An interval between opacity resets, in a run of `steps`; never below 200 steps."""
    return max(at(published, steps), min(published, SHORTEST_RESET_INTERVAL))


def resets_end(steps: int) -> int:
    """First step from which opacity is left alone: the last 15 % of a run must recover."""
    return steps - round(QUIET_TAIL * steps)


def full_by(start: int, stop: int) -> int:
    """Step of a growth phase by which a cap is to be reached: 60 % of the way."""
    return start + round(FULL_SHARE * (stop - start))


def refinements_left(done: int, last: int, every: int) -> int:
    """Multiples of `every` from the step `done` to the step `last`, both included; 0 if none."""
    return max(last // every - (done - 1) // every, 0)


def due(done: int, start: int, stop: int, every: int) -> bool:
    """Whether a thing that happens at multiples of `every` between start and stop happens now."""
    return start < done < stop and done % every == 0


def dues(start: int, stop: int, every: int, steps: int) -> list[int]:
    """All steps of a run of `steps` that are `due`."""
    return list(_dues(start, stop, every, steps))


def times_due(start: int, stop: int, every: int, steps: int) -> int:
    """Number of steps of a run of `steps` that are `due`."""
    return len(_dues(start, stop, every, steps))


def _dues(start: int, stop: int, every: int, steps: int) -> range:
    return range((start // every + 1) * every, min(stop, steps + 1), every)
