"""A clock for a part of every step, which costs next to nothing."""

from __future__ import annotations

import time
from typing import Any

import torch

_MOST = 64
"""Most blocks on CUDA whose times are pending."""


class Clock:
    """Seconds spent within its `with` blocks; on CUDA those of the device, which lags behind."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._total, self._start = 0.0, 0.0
        self._marks: list[Any] = []

    def __enter__(self) -> None:
        if self._cuda:
            self._mark()
        else:
            self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        if not self._cuda:
            self._total += time.perf_counter() - self._start
            return
        self._mark()
        if len(self._marks) >= 2 * _MOST:
            self._gather()

    @property
    def seconds(self) -> float:
        """Seconds spent so far; on CUDA this waits for the device."""
        self._gather()
        return self._total

    def _mark(self) -> None:
        mark: Any = torch.cuda.Event(enable_timing=True)
        mark.record()
        self._marks.append(mark)

    def _gather(self) -> None:
        if self._marks:
            self._marks[-1].synchronize()
        for start, end in zip(self._marks[::2], self._marks[1::2], strict=True):
            self._total += start.elapsed_time(end) / 1e3
        self._marks.clear()
