"""Compact snapshots of a run, for the timeline of the viewer."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from splat import formats
from splat.core.edit import Change
from splat.core.frame import gaussians_to_frame
from splat.core.step import Step
from splat.loop import Run
from splat.math import sh_from_rgb
from splat.types import Frame, Gaussians
from splat.viewer.chronicle import plain_copy
from splat.viewer.source import Source, Still

SUFFIX = ".compressed.ply"
"""16 bytes a Gaussian without harmonics, and the quickest of the compressed formats to write."""
_NAME = re.compile(r"step_(\d+)\.compressed\.ply")

_log = logging.getLogger("splat.viewer")


class Timeline:
    """Snapshots of the Gaussians after some steps, in colours independent of direction."""

    def __init__(self, folder: Path | None) -> None:
        """In a folder, that of a run; None: one that goes with the process."""
        self._own = tempfile.TemporaryDirectory("splat") if folder is None else None
        self.folder = folder or Path(self._own.name)  # type: ignore[union-attr]
        self._read = lru_cache(maxsize=2)(formats.read)

    @property
    def steps(self) -> list[int]:
        """Steps that have a snapshot, ascending."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob(f"step_*{SUFFIX}"))
        return sorted(int(name[1]) for name in names if name)

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"step_{step:08d}{SUFFIX}"

    def keep(self, gaussians: Gaussians, frame: Frame, step: int) -> None:
        """Write the snapshot of a step; `gaussians` are a copy with plain colours."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sh = sh_from_rgb(gaussians.colors)[:, None].cpu()
        with_sh = Gaussians(
            gaussians.means.cpu(),
            gaussians.quats.cpu(),
            gaussians.scales.cpu(),
            gaussians.opacities.cpu(),
            sh,
            0,
        )
        formats.write(with_sh, self.path(step), frame)

    def source(self, step: int, like: Source) -> Source | None:
        """The snapshot of the last step up to `step`, drawn as `like` is; None: there is none."""
        before = [each for each in self.steps if each <= step]
        if not before:
            return None
        snapshot = gaussians_to_frame(self._read(self.path(before[-1])), like.frame)
        return Still(
            snapshot.to(like.render.device),
            name=f"{like.name} at step {before[-1]:,}",
            frame=like.frame,
            render=like.render,
            drawing=like.drawing,
            background=like.background,
            photos=like.photos,
            cameras=like.cameras,
            step=before[-1],
        )

    def beyond(self, step: int) -> None:
        """Delete snapshots later than a step, which a resumed run makes anew."""
        for each in self.steps:
            if each > step:
                self.path(each).unlink(missing_ok=True)


class Snapshots:
    """A watcher that writes a number of snapshots over a run."""

    def __init__(
        self,
        timeline: Timeline,
        steps: int,
        count: int,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        """`later` has something done on another thread; it is given copies only."""
        self._timeline, self._later = timeline, later
        self._every = max(1, steps // max(1, count))

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        del step, losses, change
        if run.step % self._every == 0 or run.over or run.step == 1:
            self.keep(run)

    @torch.no_grad()
    def keep(self, run: Run) -> None:
        """Write a snapshot of the present Gaussians."""
        one = run.model.slots == 1
        shown = run.model(run.views[0], run.step) if one else run.model.sketch()
        copy, frame, at = plain_copy(shown), run.frame, run.step
        self._later(lambda: self._timeline.keep(copy, frame, at))
