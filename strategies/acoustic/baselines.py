"""What is heard at a place by rules that learn nothing: what a trained field has to beat.

Each rule answers from responses heard elsewhere, in the terms of `measure`: the three numbers of a
decay, a magnitude spectrogram and an envelope. Each is given what serves it best under its own
idea: means are of spectrograms, envelopes and numbers, for a mean of waveforms would cancel.

- `mean`: the same everywhere.
- `nearest`: what the nearest listener heard, as it was recorded.
- `attenuated`: one response for both ears, the mean of all as from 1 m away, which arrives after
  the distance to the source and is quieter by 1/distance.
- `delayed`: likewise, but as loud everywhere, as reverberation is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.strategies.acoustic.arrival import SPEED
from splat.strategies.acoustic.measure import (
    Decay,
    decay,
    envelope,
    envelopes_apart,
    spectra,
    spectra_apart,
)

NEAR = 0.1
"""Metres: nobody stands nearer to a source."""
TOGETHER = 64
"""Responses whose spectra are held at once."""


ZERO = torch.zeros((), dtype=torch.float64)


class Answer(NamedTuple):
    """What is heard at a place, as far as it is measured."""

    decay: Decay
    spectra: Float[Tensor, "2 bins frames"]
    envelope: Float[Tensor, "2 samples"]


class Errors(NamedTuple):
    """How far an answer is from the truth; NaN where either has no such number."""

    mag: float
    env: float
    t60: float
    """Seconds."""
    t60_percent: float
    """Of the true T60."""
    edt: float
    """Seconds."""
    c50: float
    """dB."""


@dataclass(frozen=True)
class Records:
    """Responses to one source, heard at known places."""

    responses: Float[Tensor, "n 2 samples"]
    places: Float[Tensor, "n 3"]
    """Metres."""
    source: Float[Tensor, "3"]
    """Metres."""
    rate: int

    def __post_init__(self) -> None:
        count = len(self.responses)
        if self.responses.ndim != 3 or self.responses.shape[1] != 2 or not count:
            raise ValueError(
                f"responses have shape {tuple(self.responses.shape)}; expected [n, 2, samples], n "
                "at least 1: stack the responses of both ears"
            )
        if self.places.shape != (count, 3) or self.source.shape != (3,):
            raise ValueError(
                f"places and source have shapes {tuple(self.places.shape)} and "
                f"{tuple(self.source.shape)}; expected ({count}, 3) and (3,): give one place for "
                "each response"
            )

    @cached_property
    def distances(self) -> Float[Tensor, "n"]:
        """Metres from each place to the source."""
        return (self.places - self.source).double().square().sum(-1).sqrt().clamp(min=NEAR)

    @cached_property
    def decays(self) -> list[Decay]:
        """Of each response."""
        return [decay(response, self.rate) for response in self.responses]

    @cached_property
    def envelopes(self) -> Float[Tensor, "n 2 samples"]:
        """Of each response."""
        return torch.cat([envelope(part) for part in self.responses.split(TOGETHER)])

    @cached_property
    def mean(self) -> Answer:
        """The mean of all numbers that there are, of all spectrograms and of all envelopes."""
        numbers = torch.tensor(self.decays, dtype=torch.float64).nanmean(0)
        t60, edt, c50 = (float(value) for value in numbers)
        parts = self.responses.split(TOGETHER)
        spectrum = sum((spectra(part).double().sum(0) for part in parts), start=ZERO)
        outline = self.envelopes.double().mean(0)
        return Answer(Decay(t60, edt, c50), spectrum / len(self.responses), outline)


def answer(response: Float[Tensor, "2 samples"], rate: int) -> Answer:
    """What a response says: the truth of a place, or what a field foretells for it."""
    sound = response.double()
    return Answer(decay(sound, rate), spectra(sound), envelope(sound))


def baselines(records: Records, place: Float[Tensor, "3"]) -> dict[str, Answer]:
    """The answer of each rule at a place, metres."""
    attenuated, delayed = aligned(records, place, (1.0, 0.0))
    return {
        "mean": records.mean,
        "nearest": nearest(records, place),
        "attenuated": attenuated,
        "delayed": delayed,
    }


def nearest(records: Records, place: Float[Tensor, "3"]) -> Answer:
    """What the nearest listener heard, the head's direction notwithstanding."""
    far = torch.linalg.vector_norm(records.places - place, dim=-1)
    return answer(records.responses[int(far.argmin())], records.rate)


def aligned(
    records: Records, place: Float[Tensor, "3"], fadings: Sequence[float] = (1.0,)
) -> list[Answer]:
    """The mean response by its delay after the direct sound, alike in both ears; one per fading.

    It arrives after distance / 343 m/s and is scaled by distance^-fading, which is taken out of
    what the mean is of. The decay is that of the mean energy.
    """
    far = torch.linalg.vector_norm(place - records.source).double().clamp(min=NEAR)
    late = ((far - records.distances) / SPEED * records.rate).round().long()
    loud = torch.stack([(records.distances / far) ** fading for fading in fadings])
    # From waveforms that are moved first: frames of spectra are coarser than what is moved.
    sounds = shifted(records.responses, late)
    energy = torch.einsum("fn,ns->fs", loud.square(), sounds.double().square().mean(1))
    outline = _weighed(loud, shifted(records.envelopes, late))
    parts = zip(sounds.split(TOGETHER), loud.split(TOGETHER, 1), strict=True)
    spectrum = sum((_weighed(weight, spectra(part)) for part, weight in parts), start=ZERO)
    many = len(sounds)
    return [
        Answer(
            decay((energy[i] / many).sqrt()[None], records.rate),
            (spectrum[i] / many).mean(0).expand(2, -1, -1),
            (outline[i] / many).mean(0).expand(2, -1),
        )
        for i in range(len(fadings))
    ]


def shifted(
    sounds: Float[Tensor, "n c samples"], late: Int[Tensor, "n"]
) -> Float[Tensor, "n c samples"]:
    """Sounds that come later by whole samples each (earlier: negative), with silence around."""
    samples = sounds.shape[-1]
    origin = torch.arange(samples, device=sounds.device) - late[:, None]
    there = (origin >= 0) & (origin < samples)
    index = origin.clamp(0, samples - 1)[:, None].expand(sounds.shape)
    return sounds.gather(-1, index) * there[:, None]


def errors(found: Answer, true: Answer) -> Errors:
    """How far an answer is from the truth; MAG and ENV as in `measure`."""
    mag = spectra_apart(found.spectra, true.spectra)
    env = envelopes_apart(found.envelope, true.envelope)
    t60, edt, c50 = (abs(a - b) for a, b in zip(found.decay, true.decay, strict=True))
    percent = 100 * t60 / true.decay.t60
    return Errors(mag, env, t60, percent, edt, c50)


def summary(found: Sequence[Errors]) -> dict[str, float]:
    """The mean of each error over the places that have it, and `NAME_missing`: how many have not.

    A mean over no place is NaN; `NAME_missing` is there where it is not 0.
    """
    said: dict[str, float] = {}
    for name in Errors._fields:
        values = [getattr(each, name) for each in found]
        known = [value for value in values if not math.isnan(value)]
        said[name] = sum(known) / len(known) if known else math.nan
        if len(known) < len(values):
            said[f"{name}_missing"] = len(values) - len(known)
    return said


def _weighed(
    weights: Float[Tensor, "f n"], values: Float[Tensor, "n 2 *any"]
) -> Float[Tensor, "f 2 *any"]:
    """Sums of values by several sets of weights; float64."""
    flat = weights.to(values.dtype) @ values.flatten(1)
    return flat.double().reshape(len(weights), *values.shape[1:])
