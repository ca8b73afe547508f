"""How much of the time of training pictures may take."""

from __future__ import annotations

import time

IDLE = 0.2
"""Part of the share that goes to pictures nobody waits for: what changed while a visitor looks."""
MARGIN = 0.33
"""Part of the share that is given out: a picture costs more than its own time. It drives what
training works with out of the caches, and a visitor's messages want to be read."""


class Pace:
    """Lets a picture be drawn when those before it have been made up for by training."""

    def __init__(self, share: float = 0.1) -> None:
        """`share` of the time, above 0 and below 1, while a visitor moves."""
        self.share = share
        self._moving_at = self._idle_at = 0.0

    def ready(self, moving: bool) -> bool:
        """Whether a picture may be drawn now: one that is waited for, or one that is not."""
        now = time.monotonic()
        return now >= self._moving_at and (moving or now >= self._idle_at)

    @property
    def wait(self) -> float:
        """Seconds until a picture that is waited for may be drawn."""
        return max(0.0, self._moving_at - time.monotonic())

    def spent(self, seconds: float, moving: bool) -> None:
        """A picture, or anything else for a visitor, has just taken so long."""
        now, share = time.monotonic(), min(max(self.share, 1e-3), 0.99) * MARGIN
        self._moving_at = max(now, self._moving_at) + seconds * (1 / share - 1)
        if not moving:
            self._idle_at = now + seconds * (1 / (IDLE * share) - 1)
