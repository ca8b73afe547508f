"""What verbs take from a run that hears: its scene, its field, and where their files are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from splat.cli.opened import open_scene, run_of, views_of
from splat.runs import checkpoint
from splat.runs.folder import Folder
from splat.strategies.acoustic.hearing import Hearing, opened
from splat.strategies.acoustic.scene import Scene
from splat.system.replaced import Replaced


@dataclass(frozen=True)
class AudioFolder:
    """Where a run keeps what it hears."""

    path: Path

    @property
    def config(self) -> Path:
        """What was asked for."""
        return self.path / "config.json"

    @property
    def checkpoints(self) -> Path:
        """The field, as training went on."""
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        """A line of JSON every few steps, and one for every edit of the points."""
        return self.path / "log.jsonl"

    @property
    def metrics(self) -> Path:
        """What held-out places say of it."""
        return self.path / "metrics.json"

    @property
    def replaced(self) -> Replaced:
        """What was learned before, until there is a checkpoint of what is learned anew."""
        own = (self.config, self.checkpoints, self.log, self.metrics)
        return Replaced(self.path, tuple(path.name for path in own))

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Within, a field is learned anew; the old one is there again if that fails before it has a
        checkpoint."""
        self.path.mkdir(exist_ok=True)
        self.replaced.set_aside(worth=bool(checkpoint.checkpoints_in(self.checkpoints)))
        try:
            yield
        except BaseException:
            if not checkpoint.checkpoints_in(self.checkpoints):
                self.replaced.put_back()
            raise


def audio_of(run: Folder) -> AudioFolder:
    """The folder within a run."""
    return AudioFolder(run.audio)


def scene_of(run: Path, device: str = "auto") -> Scene:
    """The trained scene of a run."""
    found = open_scene(run, device, "auto")
    return Scene(found.gaussians, found.frame, found.render, views_of(run_of(run).path, None))


def hearing(run: Path, device: str = "auto") -> Hearing:
    """The trained field of a run; the scene itself is read only where a new source needs it."""
    place = run_of(run)
    there = checkpoint.checkpoints_in(audio_of(place).checkpoints)
    if not there:
        raise FileNotFoundError(
            f"{place.path} has not learned to hear; expected a run with sound: teach it with"
            f" `splat train-audio {place.path} SOUNDS`"
        )

    def look(at: Float[Tensor, "3"]) -> Float[Tensor, "6 side side"]:
        return scene_of(run, device).look()(at)

    return opened(there[-1], look)[0]
