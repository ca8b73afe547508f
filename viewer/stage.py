"""Drawing between steps: the training thread draws for one visitor at a time."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from splat.viewer.guest import Color, Guest, Shown
from splat.viewer.look import Picture
from splat.viewer.pace import Pace
from splat.viewer.paint import Easel
from splat.viewer.post import Post
from splat.viewer.values import SWEPT

BUSY, FREE = 0.004, 0.035
"""Seconds that a picture of a moving camera may take: beside training, and without it."""
SENDING = 0.003
"""Processor seconds that a picture costs after it is encoded, beside a run in training."""
LEAST = 96 * 64
"""Least number of pixels of a picture."""
REFRESH = 0.3
"""Least seconds between pictures of changes, for a camera at rest."""
SWITCH = 5e-4
"""Seconds after which a thread that wants Python's lock gets it. Kernels let go of it many times a
step, and each time somebody else may hold it for so long; Python's own 5 ms are a step's time."""
NAP = 0.02
"""Seconds between looks for wishes while nothing trains."""
EVERY_VIEWS = 6
"""Views of a first sweep after which its heatmap is drawn anew."""

_log = logging.getLogger("splat.viewer")


@dataclass(frozen=True)
class Wish:
    """An action that a visitor wants carried out between two steps."""

    guest: Guest | None
    act: Callable[[], None]


class Stage:
    """Serves visitors from the thread that calls `turn`, which alone touches tensors."""

    def __init__(self, easel: Easel, share: float = 0.1) -> None:
        self.easel, self.pace, self.post = easel, Pace(share), Post()
        self.guests: dict[int, Guest] = {}
        self.chores: list[Callable[[], bool]] = []
        """Work for when nobody waits; each says whether there was any."""
        self._wishes: deque[Wish] = deque()
        self._woken = threading.Event()
        self._per_pixel = 2e-8
        self._switch = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        self.captions: dict[int, Callable[[Picture, float], None]] = {}
        """Callbacks by visitor: they show the legend and the note of a picture, and the seconds it
        took."""

    def wish(self, act: Callable[[], None], guest: Guest | None = None) -> None:
        """Queue an action for the time between two steps; from any thread."""
        self._wishes.append(Wish(guest, act))
        self._woken.set()

    def turn(self, training: bool) -> bool:
        """Carry out wishes and draw for one visitor at most; whether anything was done."""
        if not self.guests and not self._wishes:
            return False
        done = self._granted()
        for guest in list(self.guests.values()):
            guest.pass_time()
        if not self._may(training, moving=True):
            return done
        chosen = self._chosen(training)
        start = time.perf_counter()
        if chosen is not None:
            guest, quick = chosen
            urgent = self._urgent(guest, quick)
            self._serve(guest, quick, training)
            sent = self.post.cost + SENDING
        else:
            worked = self._gathered(training)
            if worked is None:
                return done
            urgent, sent = worked, 0.0
        if training:
            self.pace.spent(time.perf_counter() - start + sent, urgent)
        return True

    def rest(self, seconds: float) -> None:
        """Sleep until there is a wish, or for so many seconds."""
        self._woken.wait(seconds)
        self._woken.clear()

    def tell(self, title: str, text: str, color: Color | None = None) -> None:
        """Show a message to all visitors."""
        for guest in list(self.guests.values()):
            guest.tell(title, text, color)

    def looked_at(self, *heats: str) -> bool:
        """Whether anybody looks at one of these heatmaps."""
        looks = [guest.look for guest in list(self.guests.values())]
        return any(look.mode == "heatmap" and look.heat in heats for look in looks)

    def close(self) -> None:
        """Stop drawing and sending."""
        self.post.close()
        sys.setswitchinterval(self._switch)

    def _granted(self) -> bool:
        done = False
        while self._wishes:
            wish, done = self._wishes.popleft(), True
            try:
                wish.act()
            except Exception as error:
                _log.debug("a wish was not granted", exc_info=True)
                for guest in [wish.guest] if wish.guest else list(self.guests.values()):
                    guest.tell("That cannot be done", str(error), "red")
        return done

    def _chosen(self, training: bool) -> tuple[Guest, bool] | None:
        """The visitor to serve next, and whether quickly: those who move before those who wait."""
        wanting = [
            (guest, quick)
            for guest in list(self.guests.values())
            if (quick := self._wants(guest)) is not None
            and self._may(training, self._urgent(guest, quick))
        ]
        return min(wanting, key=lambda each: (not each[1], each[0].served), default=None)

    def _urgent(self, guest: Guest, quick: bool) -> bool:
        """Whether a visitor waits for a picture; also for a full one after a quick one."""
        return quick or guest.shown is None or guest.shown.quick

    def _may(self, training: bool, moving: bool) -> bool:
        return not training or self.pace.ready(moving)

    def _wants(self, guest: Guest) -> bool | None:
        """None: there is nothing new to draw; True: a quick, small picture; False: one at full
        size."""
        shown = guest.shown
        if shown is None or shown.camera != guest.moved_at or shown.look != guest.look:
            return True
        if guest.moving:
            return None
        if shown.quick:
            return False
        late = time.monotonic() - guest.served > REFRESH
        return False if late and shown.stamp != self._stamp(guest) else None

    def _stamp(self, guest: Guest) -> object:
        """A value that changes when what the visitor looks at has changed."""
        look, source = guest.look, self.easel.source
        if look.mode == "heatmap" and look.heat in SWEPT:
            done, _ = self.easel.sweep.progress
            first = self.easel.sweep.scores is None or not self.easel.sweep.fresh
            return source.stamp, self.easel.sweep.number, done // EVERY_VIEWS if first else 0
        return None if look.past and look.against == "nothing" else source.stamp

    def _serve(self, guest: Guest, quick: bool, training: bool) -> None:
        look, moved = guest.look, guest.moved_at
        pixels = round((BUSY if training else FREE) / self._per_pixel) if quick else None
        width, height = guest.size(None if pixels is None else max(LEAST, pixels))
        stamp = self._stamp(guest)
        guest.served = time.monotonic()
        guest.shown = Shown(moved, look, stamp, quick)
        start = time.perf_counter()
        try:
            picture = self.easel.picture(look, guest.camera(width, height))
        except Exception as error:
            # Whatever a picture does, training goes on and the visitor is told.
            _log.warning("the viewer could not draw: %s", error)
            _log.debug("where it happened", exc_info=True)
            guest.shown = Shown(moved, look, stamp, quick=False)
            guest.tell("This cannot be drawn", f"{type(error).__name__}: {error}", "red")
            return
        took = time.perf_counter() - start
        self._per_pixel += 0.3 * (took / (width * height) - self._per_pixel)
        self.post.send(guest, picture, quick)
        if guest.playing is not None:
            self.post.errand(lambda: guest.at_moment(look.moment))
        if (caption := self.captions.get(guest.number)) is not None and not quick:
            self.post.errand(lambda: caption(picture, took))

    def _gathered(self, training: bool) -> bool | None:
        """Do a part of what is gathered over many turns: True if somebody waits for it, None if
        there was nothing to do."""
        swept = self.looked_at(*SWEPT) and self.easel.source.views > 0
        if swept and not self.easel.sweep.fresh and self._may(training, moving=True):
            self.easel.sweep.look()
            return True
        if not self._may(training, moving=False):
            return None
        return False if any(chore() for chore in tuple(self.chores)) else None
