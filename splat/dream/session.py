"""A dream to its end: checkpoints, a log, a bar; pictures of what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import cv2
import torch
from torch import Tensor
from tqdm import tqdm

from splat.core.edit import Change
from splat.core.step import Step
from splat.dream.orbit import Orbit
from splat.dream.scene import Beginning
from splat.evaluation.pictures import as_bytes
from splat.kernels import one_torch_thread
from splat.loop import Run, train
from splat.runs.log import LOG_EVERY, Log
from splat.system.files import replacing
from splat.training.session import no_old_garbage
from splat.training.stop import stoppable
from splat.training.watchers import Checkpoints, Guard
from splat.types import Camera

SAVE_EVERY = 250
SHOWN, SHOWN_SIZE = 8, 160
"""Pictures of what a dream came to, and their side, pixels."""


def carry_out(run: Run, folder: Path, *, quiet: bool) -> float:
    """Train a dream to its end, with checkpoints in a folder; the seconds that it took in all.

    A signal that asks to stop is heeded between two steps (`splat.training.stop.Stopped`).
    """
    keeper = Checkpoints(folder / "checkpoints", SAVE_EVERY, keep=1)
    bar = tqdm(total=run.steps, initial=run.step, unit="step", disable=quiet or None)
    with (
        one_torch_thread(),
        no_old_garbage(),
        stoppable(keeper.save) as stop,
        closing(Log(folder / "log.jsonl", run.step)) as log,
        bar,
    ):
        run.watchers = [Guard(1, keeper), _Told(log, bar), keeper, stop]
        train(run)
        return log.seconds


class _Told:
    """A line of the log every ten steps and at edits, and the bar."""

    def __init__(self, log: Log, bar: tqdm) -> None:
        self._log, self._bar = log, bar

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        del step
        self._bar.update()
        head = self._log.head(run)
        if change:
            self._log.write({**head, "before": change.before, "counts": dict(change.counts)})
        if run.step % LOG_EVERY == 0 or run.over:
            terms = {name: round(float(loss.detach()), 6) for name, loss in losses.items()}
            self._log.write({**head, "terms": terms})
            self._bar.set_postfix_str(f"{len(run.model.cloud):,} {run.model.unit}")


def looked_from(beginning: Beginning, size: int = SHOWN_SIZE) -> list[Camera]:
    """Cameras that show a scene, frame of training: all around a thing, or some of those given."""
    views = beginning.views
    if isinstance(views, Orbit):
        return Orbit(views.ball, size, views.seed).round(SHOWN)
    cameras = views.cameras
    return [cameras[i * len(cameras) // SHOWN] for i in range(min(SHOWN, len(cameras)))]


@torch.no_grad()
def write_pictures(run: Run, beginning: Beginning, path: Path) -> None:
    """A PNG of what a dream came to, from several sides; below it what it began with."""
    rows = []
    for gaussians in (run.baked(), beginning.gaussians.to(run.render.device)):
        drawn = (
            run.shown(gaussians, camera.to(run.render.device), background=run.background).image
            for camera in looked_from(beginning)
        )
        rows.append(torch.cat([image.clamp(0, 1).cpu() for image in drawn], 1))
    _, data = cv2.imencode(".png", as_bytes(torch.cat(rows, 0).numpy())[..., ::-1])
    with replacing(path) as draft:
        draft.write_bytes(data.tobytes())
