"""Kernels that go on while Python does other things: the step of a column that nobody needs yet."""

from __future__ import annotations

import atexit
import os
from typing import Any

from splat.kernels.native import cpu

_held: tuple[int, tuple[Any, ...]] = (0, ())
"""The one that was begun last, and what it works on: that must stay until it is done."""


def hold(number: int, *what: Any) -> None:
    """Keep what a kernel that was begun under a number works on. One goes on at a time."""
    global _held
    if number > _held[0]:  # another thread may have begun one since, by which this one is done
        _held = number, what


def finish(number: int) -> None:
    """Help until the kernel that was begun under a number is done; 0, or one that is: nothing."""
    global _held
    if number:
        cpu.finish(number)
        if number == _held[0]:
            _held = 0, ()


# A child has none of the threads, and at the end tensors go before the threads do.
if os.name == "posix":
    os.register_at_fork(before=cpu.finish_all)
atexit.register(cpu.finish_all)
