"""Generated rooms as `hearing.py` needs them: what was heard, what rules answer, what is noise."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from splat.strategies.acoustic.baselines import (
    Answer,
    Errors,
    Records,
    answer,
    baselines,
    errors,
    summary,
)
from splat.strategies.acoustic.measure import FFT, Decay
from splat.strategies.acoustic.response import BANDS
from splat.strategies.acoustic.signal import at_nodes, bank
from splat.strategies.acoustic.sounds import Ears, Heard, SoundData, Source, load, read_wav
from worlds.rooms.binaural import heard
from worlds.rooms.head import kemar
from worlds.rooms.materials import Material
from worlds.rooms.shapes import ROOMS, Room
from worlds.rooms.simulate import simulate

DRAWS = 8
"""Of the noise of late sound, beside the one that was recorded."""
BATCH = 16
"""Places that a field answers for at once."""


class Telling(Protocol):
    """What a trained field tells."""

    def responses(self, ears: Sequence[Ears], source: Source) -> Float[Tensor, "n 2 samples"]: ...

    def spectrograms(
        self, ears: Sequence[Ears], source: Source
    ) -> Float[Tensor, "n 2 bins frames"]: ...


@dataclass(frozen=True)
class HeardRoom:
    """A folder of `worlds.rooms`, its responses decoded."""

    folder: Path
    data: SoundData
    truth: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.name

    def response(self, sound: Heard) -> Float[Tensor, "2 samples"]:
        """As it is on disk."""
        return read_wav(sound.file, channels=2, rate=self.data.rate)

    @cached_property
    def records(self) -> list[Records]:
        """What is trained on, by source."""
        return [
            Records(
                torch.stack([self.response(s) for s in self.data.train if s.source == number]),
                torch.tensor([s.ears.position for s in self.data.train if s.source == number]),
                torch.tensor(source.position),
                self.data.rate,
            )
            for number, source in enumerate(self.data.sources)
        ]

    @cached_property
    def true(self) -> list[Answer]:
        """Of each held-out sound."""
        return [answer(self.response(sound), self.data.rate) for sound in self.data.test]


def opened(folder: Path) -> HeardRoom:
    """The room in a folder; one of recordings is an error, for it tells no decay."""
    data = load(folder)
    if data.kind != "responses":
        raise ValueError(
            f"{folder}: holds {data.kind}; expected responses: generate it without --kind"
        )
    if not data.test:
        raise ValueError(f"{folder}: holds nothing out; expected held-out places: generate more")
    return HeardRoom(folder, data, json.loads((folder / "truth.json").read_text("utf-8")))


def of_rules(room: HeardRoom) -> dict[str, dict[str, float]]:
    """Mean errors over the held-out places of each rule that learns nothing."""
    found: dict[str, list[Errors]] = {}
    for sound, true in zip(room.data.test, room.true, strict=True):
        place = torch.tensor(sound.ears.position)
        for name, said in baselines(room.records[sound.source], place).items():
            found.setdefault(name, []).append(errors(said, true))
    told = {name: summary(each) for name, each in found.items()}
    told["nearest"]["played"] = told["nearest"]["mag"]
    return told


def of_answers(room: HeardRoom, field: Telling) -> dict[str, float]:
    """Mean errors over the held-out places of a trained field.

    As rules answer with a mean spectrogram, MAG is that of the spectrogram which the field tells to
    be expected; `played` is MAG of the sound that it plays.
    """
    found: list[Errors] = []
    played: list[float] = []
    pairs = list(zip(room.data.test, room.true, strict=True))
    for number, source in enumerate(room.data.sources):
        mine = [pair for pair in pairs if pair[0].source == number]
        for first in range(0, len(mine), BATCH):
            part = mine[first : first + BATCH]
            ears = [sound.ears for sound, _ in part]
            told = field.spectrograms(ears, source).double()
            said = field.responses(ears, source)
            for response, expected, (_, true) in zip(said, told, part, strict=True):
                if not bool(torch.isfinite(response).all()):
                    raise ValueError(
                        "a response that is foretold is not finite; expected numbers: train the"
                        " field again"
                    )
                same = _as_long(response.detach().cpu(), true.envelope.shape[-1])
                sound = answer(same, room.data.rate)
                played.append(errors(sound, true).mag)
                found.append(errors(sound._replace(spectra=expected.cpu()), true))
    return {**summary(found), "played": sum(played) / len(played)}


def of_noise(room: HeardRoom) -> dict[str, dict[str, float]]:
    """What the noise of late sound, which nothing tells beforehand, leaves to any method.

    `floor`: the best answer is the mean over all noise there could have been; the errors of the
    mean over `DRAWS` others, less what so few of them add to MAG and ENV. `draw`: an answer that is
    right in all but its noise, the mean over those others one by one; a waveform whose own noise is
    independent gets no nearer in MAG than twice the floor. `energy`: T60, EDT and C50 of
    `truth.json`, which know neither noise nor head.
    """
    known = {row["name"]: row for row in room.truth["listeners"]}
    floor: list[Errors] = []
    draw: list[Errors] = []
    energy: list[Errors] = []
    more = 1 + 1 / DRAWS
    for sound, true, answers in _drawn(room, ROOMS[room.truth["room"]]):
        draw += [errors(each, true) for each in answers]
        found = errors(_mean(answers), true)
        floor.append(found._replace(mag=found.mag / more, env=found.env / math.sqrt(more)))
        row = known[Path(sound.name).name]
        numbers = Decay(*(math.nan if row[k] is None else row[k] for k in Decay._fields))
        far = errors(true._replace(decay=numbers), true)
        energy.append(far._replace(mag=math.nan, env=math.nan))
    return {"floor": summary(floor), "draw": summary(draw), "energy": summary(energy)}


def of_knowing(room: HeardRoom) -> dict[str, dict[str, float]]:
    """Errors of those who know nearly all of a room, and answer by means over `DRAWS`.

    `room`: all but the noise. `energies`: only what masks tell, the size to be expected of each
    frame and band (a field's bands), right at every place; ENV is none of theirs. `alike`: all but
    the noise and which surface takes and scatters how much, each having the mean over the area.
    """
    rate = room.data.rate
    middle, around = at_nodes(BANDS, FFT, rate).double(), bank(BANDS, FFT, rate).double()
    found: dict[str, list[Errors]] = {"room": [], "energies": [], "alike": []}
    own = ROOMS[room.truth["room"]]
    for _, true, answers in _drawn(room, own):
        mean = _mean(answers)
        found["room"].append(errors(mean, true))
        sizes = torch.einsum("nb,cbt->cnt", middle, mean.spectra.double())
        told = mean._replace(spectra=torch.einsum("nb,cnt->cbt", around, sizes))
        found["energies"].append(errors(told, true)._replace(env=math.nan))
    for _, true, answers in _drawn(room, alike(own)):
        found["alike"].append(errors(_mean(answers), true))
    return {name: summary(each) for name, each in found.items()}


def alike(room: Room) -> Room:
    """The room with the mean over its area on every surface."""
    area = np.array([surface.area for surface in room.surfaces])

    def mean(name: str) -> tuple[float, ...]:
        values = np.array([getattr(surface.material, name) for surface in room.surfaces])
        return tuple(float(value) for value in area @ values / area.sum())

    same = Material("mean", mean("absorption"), mean("scattering"))
    floor, ceiling = (
        tuple((plan, same) for plan, _ in part) for part in (room.floor, room.ceiling)
    )
    return replace(room, walls=(same,) * len(room.walls), floor=floor, ceiling=ceiling)


def _drawn(room: HeardRoom, of: Room) -> Iterator[tuple[Heard, Answer, list[Answer]]]:
    """Each held-out sound, the answer that it is, and those of `DRAWS` others there in a room."""
    for number in range(len(room.data.sources)):
        pairs = zip(room.data.test, room.true, strict=True)
        mine = [(sound, true) for sound, true in pairs if sound.source == number]
        drawn = _redraws(room, of, number, [sound for sound, _ in mine])
        for (sound, true), draws in zip(mine, drawn, strict=True):
            yield sound, true, [answer(each, room.data.rate) for each in draws]


def _redraws(room: HeardRoom, of: Room, number: int, sounds: Sequence[Heard]) -> list[list[Tensor]]:
    """Responses at the same places with other noise, `DRAWS` of each; `of` may differ in its
    materials."""
    told, rate = room.truth, room.data.rate
    samples = round(told["seconds"] * rate)
    echoes = simulate(
        of, room.data.sources[number].position,
        np.array([sound.ears.position for sound in sounds]), rate=rate, seconds=told["seconds"],
        rays=told["rays"], seed=told["seed"] * 1000 + number,
    )  # fmt: skip
    head, found = kemar(rate), []
    for i, sound in enumerate(sounds):
        listener = int(Path(sound.name).name.partition("_")[0])
        draws = []
        for draw in range(DRAWS + 1):
            # The first as the room was written: whatever differs there is not noise.
            seed = [told["seed"], 5, number, listener, *([draw] if draw else [])]
            noise = np.random.default_rng(seed)
            draws.append(torch.from_numpy(heard(echoes, i, sound.ears, head, rate, samples, noise)))
        written = room.response(sound)
        if of is ROOMS[told["room"]] and not torch.allclose(
            draws[0], written, atol=1e-5 * float(written.abs().max())
        ):
            raise ValueError(
                f"{sound.file}: is not what this version of the generator writes; expected the "
                "same to draw its noise again: generate the room again"
            )
        found.append(draws[1:])
    return found


def _mean(answers: Sequence[Answer]) -> Answer:
    numbers = torch.tensor([each.decay for each in answers], dtype=torch.float64).nanmean(0)
    return Answer(
        Decay(*(float(value) for value in numbers)),
        torch.stack([each.spectra for each in answers]).mean(0),
        torch.stack([each.envelope for each in answers]).mean(0),
    )


def _as_long(response: Float[Tensor, "2 samples"], samples: int) -> Float[Tensor, "2 other"]:
    """Cut, or with silence behind."""
    cut = response[..., :samples]
    return torch.nn.functional.pad(cut, (0, samples - cut.shape[-1]))
