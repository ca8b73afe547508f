"""The share of training's time that pictures may take."""

from __future__ import annotations

import time

IDLE = 0.2
"""Fraction of the share that goes to pictures nobody waits for: changes while a visitor looks."""
MARGIN = 0.33
"""Fraction of the share that is used: a picture costs more than its own time. It evicts training's
data from the caches, and a visitor's messages are read."""


class Pace:
    """Allows a picture once training has had its time for those before it."""

    def __init__(self, share: float = 0.1) -> None:
        """`share` of the time, above 0 and below 1, while a visitor moves."""
        self.share = share
        self._moving_at = self._idle_at = 0.0

    def ready(self, moving: bool) -> bool:
        """Whether a picture may be drawn now, for a `moving` visitor or for one at rest."""
        now = time.monotonic()
        return now >= self._moving_at and (moving or now >= self._idle_at)

    @property
    def wait(self) -> float:
        """Seconds until a picture for a moving visitor may be drawn."""
        return max(0.0, self._moving_at - time.monotonic())

    def spent(self, seconds: float, moving: bool) -> None:
        """Record the seconds that a picture, or anything else for a visitor, has taken."""
        now, share = time.monotonic(), min(max(self.share, 1e-3), 0.99) * MARGIN
        self._moving_at = max(now, self._moving_at) + seconds * (1 / share - 1)
        if not moving:
            self._idle_at = now + seconds * (1 / (IDLE * share) - 1)
