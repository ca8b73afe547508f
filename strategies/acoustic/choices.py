"""What people may choose of hearing, where help finds it without torch."""

from __future__ import annotations

from dataclasses import dataclass

KEYS = 6.0
"""Times a second that a field is asked along a path."""


@dataclass(frozen=True)
class Density:
    """Duplicates audio points of a high mean gradient, and removes those that contribute little.

    A copy takes half of what its parent counts for (`mass`), so that copies do not push other
    points out of the neighbourhoods that are heard by.
    """

    every: int = 500
    """Steps between edits; of a run of 4,000, as all numbers of steps here."""
    begin_at: int = 400
    """Step before which nothing changes."""
    end_at: int = 3200
    """Step from which nothing changes."""
    quantile: float = 0.85
    """Of the gradients: points above it are duplicated."""
    idle: float = 0.01
    """Share of the points that is removed at an edit, those that contribute least."""
    least_uses: int = 20
    """Uses that a point must have had before either is said of it."""
    jitter: float = 0.5
    """Standard deviation of where a child lies, of its parent's distance to the nearest point."""
    cap: int = 4000
    """Most points there may be."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; expected at least 1 step between edits")
        for name, least in (("least_uses", 0), ("jitter", 0), ("cap", 1)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")
        for name in ("quantile", "idle"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a share from 0 to 1")
