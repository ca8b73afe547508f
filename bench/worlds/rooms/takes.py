"""A room heard by many listeners, to disk: responses, or recordings of what its sources play.

A recording is what a source plays (`dry`) convolved with the listener's response. Each listener
hears another stretch of it, `CLIP` seconds long; the files begin as much earlier as a response is
long, so that all that still rings at the start of the clip is known. Held-out places hear other
stretches than those trained on.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.signal import fftconvolve

from splat.strategies.acoustic.sounds import own
from splat.strategies.acoustic.sounds.types import Ears, Heard, Source
from splat.strategies.acoustic.sounds.wav import write_wav
from worlds.rooms.binaural import heard
from worlds.rooms.decay import told
from worlds.rooms.dry import dry
from worlds.rooms.head import kemar
from worlds.rooms.shapes import Place, Room
from worlds.rooms.simulate import simulate

TOGETHER = 150
"""Listeners that one process traces rays to at a time."""
CLIP = 1.0
"""Seconds that each listener hears of a recording."""
Kind = Literal["responses", "recordings"]


@dataclass(frozen=True)
class Take:
    """How a room is heard."""

    room: Room
    rate: int
    """Samples a second."""
    seconds: float
    """Of a response."""
    rays: int
    """From a source."""
    seed: int
    kind: Kind = "responses"

    @property
    def samples(self) -> int:
        """Of a response."""
        return round(self.seconds * self.rate)

    @property
    def start(self) -> float:
        """Where in the files the clip begins, seconds; 0 of responses."""
        return self.samples / self.rate if self.kind == "recordings" else 0.0

    @property
    def clip(self) -> float | None:
        """Seconds; None of responses: all of the file."""
        return CLIP if self.kind == "recordings" else None


@dataclass(frozen=True)
class _Part:
    """What one process does: some listeners, one source."""

    take: Take
    folder: Path
    number: int
    source: Place
    first: int
    ears: tuple[Ears, ...]
    deaf: tuple[bool, ...]
    """Listeners of whom nothing is written."""


def write_sounds(
    take: Take,
    folder: Path,
    played: Sequence[Place],
    ears: Sequence[Ears],
    test: Sequence[bool],
    workers: int,
    held_sources: int = 0,
) -> list[dict[str, Any]]:
    """All sounds and their card; what is known of each place and source.

    The last `held_sources` sources are held out, too: only held-out listeners hear them.
    """
    (folder / "wav").mkdir(parents=True)
    trained = len(played) - held_sources
    parts = [
        _Part(
            take, folder, number, source, first, tuple(ears[first : first + TOGETHER]),
            tuple(number >= trained and not out for out in test[first : first + TOGETHER]),
        )
        for number, source in enumerate(played)
        for first in range(0, len(ears), TOGETHER)
    ]  # fmt: skip
    if workers == 1 or len(parts) == 1:
        done = [_hear(part) for part in parts]
    else:
        # Fresh processes: a fork of one whose libraries have threads may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context) as pool:
            done = list(pool.map(_hear, parts))
    rows = [row for part in done for row in part]
    split: dict[bool, list[Heard]] = {False: [], True: []}
    for row in rows:
        number, source = row["listener"], row["source"]
        row["split"] = "test" if test[number] else "train"
        file = folder / "wav" / f"{row['name']}.wav"
        played_by = file.with_name(f"{row['name']}_dry.wav") if take.clip else None
        sound = Heard(row["name"], ears[number], source, file, played_by, take.start, take.clip)
        split[test[number]].append(sound)
    stand = [Source(place) for place in played]
    own.write(folder, take.kind, take.rate, stand, split[False], split[True])
    return rows


def _hear(part: _Part) -> list[dict[str, Any]]:
    """What some listeners hear of one source, to disk."""
    take = part.take
    places = np.array([ears.position for ears in part.ears])
    echoes = simulate(
        take.room, part.source, places, rate=take.rate, seconds=take.seconds, rays=take.rays,
        seed=take.seed * 1000 + part.number,
    )  # fmt: skip
    head, rows = kemar(take.rate), []
    playing = None
    if take.kind == "recordings":
        playing = dry(
            take.rate, _ends(take, part.first + len(part.ears) - 1), take.seed, part.number
        )
    for i, ears in enumerate(part.ears):
        number = part.first + i
        if part.deaf[i]:
            continue
        # Of the place and the source alone: whoever is heard along with it.
        noise = np.random.default_rng([take.seed, 5, part.number, number])
        response = heard(echoes, i, ears, head, take.rate, take.samples, noise)
        name = f"{number:04d}_{part.number}"
        file = part.folder / "wav" / f"{name}.wav"
        if playing is not None:
            played, response = recorded(take, playing, response, number)
            write_wav(file.with_name(f"{name}_dry.wav"), torch.from_numpy(played), take.rate)
        write_wav(file, torch.from_numpy(response), take.rate)
        known = told(echoes, i, places[i], take.rate, take.samples)
        rows.append({"name": name, "listener": number, "source": part.number, **known})
    return rows


def recorded(
    take: Take, playing: np.ndarray, response: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """What listener `number` hears of `playing` [samples], and that itself, in step.

    Mono [1, samples], then both ears [2, samples], from `Take.start` before the clip on.
    """
    last = _ends(take, number)
    first = last - take.samples - round(CLIP * take.rate)
    early = max(first - take.samples, 0)
    # In double precision: a quiet end is as exact as a loud beginning.
    source, ears = playing[None, early:last].astype(np.float64), response.astype(np.float64)
    sound = fftconvolve(source, ears, axes=1)[:, first - early : last - early]
    return playing[None, first:last], sound.astype(np.float32)


def _ends(take: Take, number: int) -> int:
    """The sample of what is played at which the clip of listener `number` ends."""
    return take.samples + (number + 1) * round(CLIP * take.rate)
