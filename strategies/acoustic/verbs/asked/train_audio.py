"""What `splat train-audio` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.options.verbs import Json, Quiet, Resume
from splat.strategies.acoustic.choices import Density
from splat.system.numbers import hint
from splat.system.ranges import above, at_least, check_fields, within


@dataclass(frozen=True)
class Taught:
    """What is asked of the training; a run that goes on has it from its start."""

    steps: Annotated[int, at_least(1)] = 800
    """Steps, each over `batch` places."""
    points: Annotated[int, at_least(0)] = 250
    """Audio points at first: one in each cell of a grid over the surfaces. 0: none; the field knows
    how far away, where and how much in sight the source is, and no more."""
    batch: Annotated[int, at_least(1)] = 16
    """Places of a step."""
    share: Annotated[float, within(0, 1, low_open=True)] = 0.15
    """Of what all points count for: those nearest to the listener that it hears by, and as many
    nearest to the source."""
    dropped: Annotated[float, within(0, 1, high_open=True)] = 0.5
    """Share of the points that a step does without, drawn anew each time."""
    guidance_rate: Annotated[float, at_least(0)] = 0.03
    """Learning rate of guidance."""
    network_rate: Annotated[float, at_least(0)] = 2e-3
    """Learning rate of the networks."""
    carrier_rate: Annotated[float, at_least(0)] = 5e-2
    """Learning rate of the noise that all places share; 0: it stays flat noise."""
    no_adapt: bool = False
    """Leave guidance as the scene's Gaussians give it; the points stay as they are, too."""
    no_density: bool = False
    """Leave the points as they are, and learn their guidance."""
    metres: Annotated[float | None, above(0, default="from when sounds arrive, else 1")] = None
    """Metres that one unit of the scene is."""
    seed: int = 0
    """Of the networks and of all draws."""
    density: Density = field(default_factory=Density)

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)


@dataclass(frozen=True)
class TrainAudio:
    """Teach a trained scene what it sounds like (audio-guided points, as AV-GS).

    splat train scene/ --out run/, then splat train-audio run/ sounds/. The Gaussians stay as they
    are, to the bit; what is learned lies in run/audio. Then splat hear run/ --source voice.wav.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a run of `splat train`."""
    sounds: Annotated[tyro.conf.Positional[Path | None], hint("with --resume, as it was begun")] = (
        None
    )
    """Folder of impulse responses or recordings: our own layout (sounds.json), RWAVS, or as in
    SoundSpaces."""
    resume: Resume = False
    overwrite: bool = False
    """Replace what the run has learned to hear."""
    threads: Annotated[int | None, at_least(1, default="1, or as it was begun")] = None
    """Threads. The parts are so small that more seldom help, and the last bits of results depend on
    it: with --resume, leave it as it was."""
    json: Json = False
    quiet: Quiet = False
    taught: Taught = field(default_factory=Taught)

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
