"""Ctrl-C and SIGTERM, noted without interrupting what goes on."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_log = logging.getLogger(__name__)


@dataclass
class Heard:
    """The signal that was received; 0: none."""

    number: int = 0


@contextmanager
def listening(warning: str) -> Iterator[Heard]:
    """Within, the first Ctrl-C or SIGTERM is noted only, with a warning; a second one ends at once.

    Outside the main thread signals do what they always do.
    """
    heard = Heard()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        heard.number = number
        for each in numbers:
            signal.signal(each, before[each])
        if warning:
            _log.warning("%s", warning)

    for number in numbers:
        signal.signal(number, note)
    try:
        yield heard
    finally:
        for number in numbers:
            signal.signal(number, before[number])
