"""The viewer of finished runs, checkpoints and files: one, or two compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.cleanup import debris
from splat.core.frame import points_to_frame
from splat.types import Points
from splat.viewer.curves import events_of_log, of_log
from splat.viewer.gallery import Gallery
from splat.viewer.markdown import plain
from splat.viewer.page import Page, State, box_around
from splat.viewer.paint import Easel
from splat.viewer.scene_tab import Landmarks
from splat.viewer.server import Server
from splat.viewer.source import Source
from splat.viewer.stage import NAP, Stage
from splat.viewer.timeline import Timeline


class Showing:
    """Serves one source, or two of which the second is compared with the first."""

    def __init__(
        self,
        server: Server,
        sources: Sequence[Source],
        log: Iterable[Mapping[str, Any]] = (),
        timeline: Path | None = None,
        points: Points | None = None,
    ) -> None:
        """`log` has the records of the first one's run, `timeline` is the folder of its snapshots,
        `points` are those of its scene, frame of the input."""
        first, *rest = sources
        self._sources = list(sources)
        line = None if timeline is None or not timeline.is_dir() else Timeline(timeline)
        easel = Easel(
            first,
            debris=lambda: self._debris(first),
            past=lambda step: None if line is None else line.source(step, first),
            other=Easel(rest[0]) if rest else None,
        )
        self._found: Bool[Tensor, "n"] | None = None
        self.stage = Stage(easel)
        gallery = None if first.photos is None else Gallery(first, first.photos)
        low, high = box_around(first.positions)
        start = None if points is None else points_to_frame(points, first.frame)
        marks = Landmarks(gallery, start, low, high)
        records = list(log)
        curves, self._events = of_log(records), events_of_log(records)
        self.page = Page(server, self.stage, marks, self._state, curves=curves, timeline=line)
        if gallery is not None:
            self.stage.chores.append(lambda: self.page.shows_cameras and gallery.measure())

    def serve(self) -> None:
        """Serve until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            while True:
                if not self.stage.turn(training=False):
                    self.stage.rest(NAP)
                self.page.tick()

    def close(self) -> None:
        """Stop drawing."""
        self.stage.close()

    def _state(self) -> State:
        lines = []
        for source in self._sources:
            figure = "" if source.psnr is None else f", {source.psnr:.2f} dB on held-out photos"
            step = f"trained for {source.step:,} steps, " if source.step else ""
            lines.append(f"**{plain(source.name)}**: {step}{source.count:,} {source.unit}{figure}")
        return "  \n".join([*lines, *self._events]), None

    def _debris(self, source: Source) -> Bool[Tensor, "n"]:
        if self._found is None:
            whole = source.baked()
            mask = torch.stack(list(debris.debris(whole).values())).any(0)
            self._found = source.rows_where(whole, mask.to(source.render.device))
        return self._found
