"""Encoding and sending of pictures, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np

from splat.system.machine import stand_back
from splat.viewer.guest import Guest
from splat.viewer.look import Picture

MOVING, STANDING = 60, 93
"""JPEG quality while a camera moves, and once it is at rest."""
HALF = slice(None, None, 2)

_log = logging.getLogger("splat.viewer")


class Post:
    """Encodes and sends, so that training never waits for a browser. Of pictures for one visitor
    only the newest is sent; older ones that wait are dropped."""

    def __init__(self) -> None:
        self.cost = 0.0
        """Recent processor seconds a picture."""
        self.sent = 0
        """Number of pictures sent."""
        self._pictures: dict[int, tuple[Guest, Picture, bool]] = {}
        self._errands: deque[Callable[[], None]] = deque()
        self._closed = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="splat viewer post", daemon=True)
        self._thread.start()

    def send(self, guest: Guest, picture: Picture, moving: bool) -> None:
        """Queue a picture for a visitor."""
        with self._wake:
            self._pictures[guest.number] = (guest, picture, moving)
            self._wake.notify()

    def errand(self, act: Callable[[], None]) -> None:
        """Queue other work that touches no tensor of the run."""
        with self._wake:
            self._errands.append(act)
            self._wake.notify()

    def close(self) -> None:
        """Finish the queued errands and end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(30)

    def _work(self) -> None:
        stand_back()
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._pictures or self._errands)
                if self._closed:
                    self._pictures.clear()
                    if not self._errands:
                        return
                if self._pictures:
                    act: Callable[[], None] = partial(
                        self._picture, *self._pictures.pop(next(iter(self._pictures)))
                    )
                else:
                    act = self._errands.popleft()
            try:
                act()
            except Exception as error:
                # A browser that left, or asyncio's events set from two threads; the next goes out.
                _log.debug("the viewer could not send something: %s", error, exc_info=True)

    def _picture(self, guest: Guest, picture: Picture, moving: bool) -> None:
        start = time.thread_time()
        depth = picture.depth
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it may have left, which is no news
            guest.client.scene.set_background_image(
                picture.pixels,
                format="jpeg",
                jpeg_quality=MOVING if moving else STANDING,
                # A PNG of depths takes ten times the time of the picture.
                depth=None if depth is None else np.ascontiguousarray(depth[HALF, HALF]),
            )
        self.sent += 1
        self.cost += 0.3 * (time.thread_time() - start - self.cost)
