"""The viewer of a run in training: a watcher that serves visitors between steps."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.cleanup import debris
from splat.core import knobs
from splat.core.edit import SPLIT, Change
from splat.core.frame import points_to_frame
from splat.core.step import Step
from splat.evaluation.evaluate import view_psnr
from splat.loop import Run, next_step
from splat.planning.time_left import TimeLeft
from splat.system import machine
from splat.system.text import size, span
from splat.types import Points
from splat.viewer.chronicle import Chronicle
from splat.viewer.curves import Curves
from splat.viewer.gallery import Gallery
from splat.viewer.mask import Mask
from splat.viewer.page import Page, State, box_around
from splat.viewer.paint import Easel
from splat.viewer.scene_tab import Landmarks
from splat.viewer.server import Server
from splat.viewer.source import Live, Photos
from splat.viewer.stage import NAP, Stage
from splat.viewer.timeline import Snapshots, Timeline

PACES = 6
"""Clock readings, one every two seconds, from which the speed of training is computed."""
NOTE_EVERY, NOTE_SECONDS = 20, 0.5
"""Least steps, and seconds, between points of the curves: each costs a look at the picture."""
LISTEN_BUSY, LISTEN_FREE = 0.12, 0.02
"""Least seconds between cameras read of a moving visitor: beside training, and without it."""
GONE = 20.0
"""Seconds without a browser after which a finished run is no longer served."""

_log = logging.getLogger(__name__)


class LiveViewer:
    """A watcher that draws and carries out wishes between steps; it changes the run only by
    `run.obey`, which records it."""

    def __init__(
        self,
        server: Server,
        run: Run,
        photos: Photos,
        name: str,
        *,
        points: Points | None = None,
        timeline: Timeline | None = None,
        snapshots: int = 0,
        share: float = 0.1,
        curves: Curves | None = None,
        left: TimeLeft | None = None,
    ) -> None:
        """`points` are those of the scene, frame of the input; `share` is the most of training's
        time that pictures may take; `left` predicts how long the run still takes."""
        self._left, self._began = left, time.monotonic()
        self.run, self.server = run, server
        self.paused = False
        self.stopping: Callable[[], bool] = lambda: False
        """Whether a signal asks to stop."""
        self.saving: Callable[[Run], Path] | None = None
        """Writes a checkpoint; None: there is no folder for one."""
        self.measured: Callable[[], Sequence[float]] = lambda: ()
        """PSNR of the measurements on held-out photos so far, dB."""
        self.source = Live(run, photos, name)
        self.chronicle = Chronicle(run)
        self.gallery = Gallery(self.source, photos)
        self.curves = curves or Curves()
        self._timeline = timeline or Timeline(None)
        source, line = self.source, self._timeline
        easel = Easel(
            source,
            self.chronicle,
            doomed=self._doomed,
            debris=self._debris,
            past=lambda step: line.source(step, source),
        )
        self.stage = Stage(easel, share)
        self._snapshots = Snapshots(line, run.steps, snapshots, self.stage.post.errand)
        self._keeps = snapshots > 0
        self._once = False
        self._note_at = 0.0
        self._doomed_rows, self._debris_rows = Mask(run), Mask(run)
        self.chronicle.followers += [self._doomed_rows.follow, self._debris_rows.follow]
        self.stage.chores.append(self._measure)
        self._figures = ""
        self._paces: deque[tuple[float, int]] = deque(maxlen=PACES)
        low, high = box_around(self.source.positions)
        start = None if points is None else points_to_frame(points, run.frame)
        marks = Landmarks(self.gallery, start, low, high)
        self.page = Page(
            server, self.stage, marks, self._state,
            curves=self.curves, steering=self, timeline=line,
        )  # fmt: skip

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        """Serve visitors after a step, as a watcher."""
        self._once = False
        self.chronicle.gathers = self.stage.looked_at("gradient")
        self.chronicle(run, step, losses, change)
        if run.over or (run.step % NOTE_EVERY == 0 and time.monotonic() >= self._note_at):
            self._note(run, step, losses)
        if self._keeps:
            self._snapshots(run, step, losses, change)
        # Where a camera is need not be known before it may be drawn.
        self.server.listen(max(LISTEN_BUSY, self.stage.pace.wait))
        self.stage.turn(training=True)
        self.page.tick()
        if self.paused and not run.over:
            self._stand_still(run)

    def rewound(self) -> None:
        """Take note that the run was set back to an earlier step."""
        self.chronicle.rewound(self.run)
        self.curves.beyond(self.run.step)
        self._timeline.beyond(self.run.step)
        self._paces.clear()

    def knobs(self) -> Mapping[str, knobs.Knob]:
        """Numbers that can be changed: the factor on the learning rates, and the strategy's own."""
        rate = knobs.Knob(self.run.rate, False, "Factor on all learning rates.")
        return {knobs.RATE: rate, **knobs.knobs(self.run.strategy)}

    def set(self, name: str, value: float) -> None:
        """Change a number from the next step on; ValueError where that is not allowed."""
        command = self.run.obey(name, value)
        _log.info("step %s: %s is %g from here on", f"{self.run.step:,}", name, command.value)

    def pause(self, paused: bool) -> None:
        """Pause after this step, or go on."""
        self.paused = paused
        self.stage.post.errand(lambda: self.page.training.paused(paused))

    def step_once(self) -> None:
        """Do one step and pause."""
        self._once = True
        self.pause(True)

    def save(self) -> str:
        """Write a checkpoint; its name and step."""
        if self.saving is None:
            raise ValueError("this run has no folder; begin it with --out to keep checkpoints")
        return f"{self.saving(self.run).name}, step {self.run.step:,}"

    def linger(self, figures: str, psnr: float | None, stay: bool) -> None:
        """Serve the finished run until Ctrl-C; without `stay` no longer than a browser is
        connected.

        `figures` are its own, in words; `psnr` is that on held-out photos.
        """
        self.paused, self.source.psnr = False, psnr
        self.stage.post.errand(self.page.training.end)
        self._figures = figures.replace("\n", "  \n")
        now = time.monotonic()
        left = now if self.page.guests else now - GONE
        if stay or self.page.guests:
            _log.info("viewer    goes on at %s; Ctrl-C ends it", self.server.url)
        with suppress(KeyboardInterrupt):
            while stay or time.monotonic() - left < GONE:
                self.idle()
                left = time.monotonic() if self.page.guests else left

    def serve(self) -> bool:
        """Do one thing for visitors, while nothing trains; whether there was any."""
        self.server.listen(LISTEN_FREE)
        done = self.stage.turn(training=False)
        self.page.tick()
        return done

    def idle(self) -> None:
        """Serve visitors, or sleep a little."""
        if not self.serve():
            self.stage.rest(NAP)

    def close(self) -> None:
        """Stop drawing, and free the port."""
        self.stage.close()
        self.server.close()

    def _stand_still(self, run: Run) -> None:
        while self.paused and not self._once and not self.stopping():
            start = time.monotonic()
            self.idle()
            run.waited += time.monotonic() - start

    def _note(self, run: Run, step: Step, losses: Mapping[str, Tensor]) -> None:
        self._note_at = time.monotonic() + NOTE_SECONDS
        value = view_psnr(step)
        self.gallery.note(step.batch.name, value)
        tested = self.measured()
        self.source.psnr = tested[-1] if tested else self.source.psnr
        self.curves.add(
            run.step,
            loss=sum(float(loss.detach()) for loss in losses.values()),
            psnr=value,
            gaussians=len(run.model.cloud),
            born=self.chronicle.births.total(),
            died=self.chronicle.deaths.total(),
            **({"test_psnr": tested[-1]} if tested else {}),
        )

    def _state(self) -> State:
        run = self.run
        pace = self._pace()
        held = machine.held_memory()
        lines = [f"**Step {run.step:,} of {run.steps:,}**" + (" · paused" if self.paused else "")]
        if run.over:
            lines += [self._figures or "training is over"]
        else:
            seconds = pace * (run.steps - run.step)
            if self._left is not None:
                elapsed = time.monotonic() - self._began - run.waited
                seconds = self._left.at(run.step, len(run.model.cloud), elapsed)
            text = f"{1 / pace:.1f} steps a second, {span(seconds)} left" if pace else "begins"
            lines += [text]
        lines += [f"{len(run.model.cloud):,} {run.model.unit}, {size(held or 0)} of memory"]
        tested = self.gallery.held_out or self.source.psnr
        if tested is not None:
            lines += [f"{tested:.2f} dB on held-out photos"]
        for verb, counts in (("born", self.chronicle.births), ("died", self.chronicle.deaths)):
            if counts:
                rows_by_reason = (f"{reason} {rows:,}" for reason, rows in counts.most_common())
                lines += [f"{verb}: {', '.join(rows_by_reason)}"]
        if run.commands:
            changes = (f"{c.name} = {c.value:g} at {c.step:,}" for c in run.commands[-4:])
            lines += [f"changed: {', '.join(changes)}"]
        return "  \n".join(lines), run.step / max(1, run.steps)

    def _pace(self) -> float:
        """Recent seconds a step, 0 where that is not known."""
        self._paces.append((time.monotonic() - self.run.waited, self.run.step))
        (then, first), (now, last) = self._paces[0], self._paces[-1]
        return (now - then) / (last - first) if last > first else 0.0

    def _measure(self) -> bool:
        """Measure a photograph, while nothing trains and somebody looks at the cameras."""
        resting = self.run.over or self.paused
        return resting and self.page.shows_cameras and self.gallery.measure()

    def _doomed(self) -> Bool[Tensor, "n"] | None:
        """Rows that the strategy would prune if the next step at which it acts came now.

        A strategy only proposes, so asking changes nothing.
        """
        run = self.run
        coming = sorted(
            n for when in run.strategy.acts(run.steps).values() for n in when if n > run.step
        )
        if not coming:
            return None

        def asked() -> Tensor:
            # The step before is not kept for this: its memory is what the next one works with.
            edit = run.strategy.refine(replace(next_step(run), number=coming[0] - 1))
            gone = torch.zeros(len(run.model.cloud), dtype=torch.bool, device=run.render.device)
            for drop in () if edit is None else edit.drop:
                if drop.reason != SPLIT:
                    gone[drop.rows[drop.rows < len(gone)]] = True
            return gone

        return self._doomed_rows.made(asked, coming[0])

    def _debris(self) -> Bool[Tensor, "n"] | None:
        """Rows that `splat clean` would remove."""

        def debris_rows() -> Tensor:
            whole = self.source.baked()
            mask = torch.stack(list(debris.debris(whole).values())).any(0)
            return self.source.rows_where(whole, mask.to(self.run.render.device))

        return self._debris_rows.made(debris_rows)
