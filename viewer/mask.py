"""Masks of rows that are costly to compute, cached while a run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from jaxtyping import Bool
from torch import Tensor

from splat.loop import Run

STALE = 20.0
"""Seconds after which a mask is computed anew while steps pass."""


class Mask:
    """A cached mask of rows: it is computed anew now and then, and follows the rows in between."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._mask: Tensor | None = None
        self._key: object = None
        self._step, self._at = -1, 0.0

    def made(self, make: Callable[[], Tensor], key: object = None) -> Bool[Tensor, "n"]:
        """The mask; computed anew for another `key` than before, and with time while steps pass."""
        old = self._step != self._run.step and time.monotonic() - self._at > STALE
        if self._mask is None or key != self._key or old:
            self._mask, self._key = make(), key
            self._step, self._at = self._run.step, time.monotonic()
        return self._mask

    def follow(self, after: Callable[[Tensor], Tensor]) -> None:
        """Let the mask follow its rows."""
        self._mask = None if self._mask is None else after(self._mask)
