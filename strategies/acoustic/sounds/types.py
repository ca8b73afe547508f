"""The records of sounds heard in a scene: ears, sources, and what was heard where.

Positions are in the scene's own coordinates, metres where those are metres; directions are unit
vectors in its axes. The first channel of a stereo file is the left ear.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Triple = tuple[float, float, float]


def triple_of(values: Iterable[float]) -> Triple:
    """Three numbers, such as a row of an array."""
    x, y, z = values
    return float(x), float(y), float(z)


@dataclass(frozen=True)
class Ears:
    """A listener's head: the middle between the ears, and how it is turned."""

    position: Triple
    facing: Triple
    """Unit, where the nose points."""
    up: Triple = (0.0, 0.0, 1.0)
    """Unit, towards the top of the head; the left ear is along `up` x `facing`."""


@dataclass(frozen=True)
class Source:
    """What makes the sound."""

    position: Triple
    facing: Triple | None = None
    """Unit; None: it sounds alike in all directions."""


@dataclass(frozen=True)
class Heard:
    """One sound as heard at one place."""

    name: str
    ears: Ears
    source: int
    """Index into `SoundData.sources`."""
    file: Path
    """Stereo WAV: an impulse response, or a recording."""
    dry: Path | None = None
    """Mono WAV: what the source played, of a recording, in step with `file`."""
    start: float = 0.0
    """Where in `file` and `dry` it begins, seconds."""
    seconds: float | None = None
    """How long it is, with silence after the file's end; None: all of the file."""


@dataclass(frozen=True)
class SoundData:
    """What a folder of sounds holds; nothing is decoded."""

    path: Path
    format: str
    """`splat`, `rwavs` or `soundspaces`."""
    kind: Literal["responses", "recordings"]
    """Whether files hold impulse responses, or recordings of what the sources played."""
    rate: int
    """Of every file, Hz."""
    sources: tuple[Source, ...]
    train: tuple[Heard, ...]
    test: tuple[Heard, ...]
    """Held out by position: nothing in `train` is heard where one of these is."""
    notes: tuple[str, ...] = ()
    """What whoever uses the data should hear of, a sentence each."""
