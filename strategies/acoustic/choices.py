"""What people may choose of hearing, where help finds it without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from splat.system.ranges import at_least, check_fields, within

KEYS = 6.0
"""Times a second that a field is asked along a path."""


@dataclass(frozen=True)
class Density:
    """Duplicates audio points of a high mean gradient, and removes those that contribute little.

    A copy takes half of what its parent counts for (`mass`), so that copies do not push other
    points out of the neighbourhoods that are heard by.
    """

    every: Annotated[int, at_least(1)] = 500
    """Steps between edits; of a run of 4,000, as all numbers of steps here."""
    begin_at: int = 400
    """Step before which nothing changes."""
    end_at: int = 3200
    """Step from which nothing changes."""
    quantile: Annotated[float, within(0, 1)] = 0.85
    """Of the gradients: points above it are duplicated."""
    idle: Annotated[float, within(0, 1)] = 0.01
    """Share of the points that is removed at an edit, those that contribute least."""
    least_uses: Annotated[int, at_least(0)] = 20
    """Uses that a point must have had before either is said of it."""
    jitter: Annotated[float, at_least(0)] = 0.5
    """Standard deviation of where a child lies, of its parent's distance to the nearest point."""
    cap: Annotated[int, at_least(1)] = 4000
    """Most points there may be."""

    def __post_init__(self) -> None:
        check_fields(self)
