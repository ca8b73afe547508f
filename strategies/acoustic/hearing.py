"""`Hearing`: a trained field, ready to listen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from splat.runs.checkpoint import fitting
from splat.strategies.acoustic import measure
from splat.strategies.acoustic.audible import Audible, Kind, Seen, Settings
from splat.strategies.acoustic.geometry import Listening
from splat.strategies.acoustic.learning import TOGETHER, loaded
from splat.strategies.acoustic.recording import Recorder
from splat.strategies.acoustic.response import Responder, placed, shifts
from splat.strategies.acoustic.scene import MARGIN, within
from splat.strategies.acoustic.sight import Look
from splat.strategies.acoustic.sounds import Ears, Source
from splat.strategies.acoustic.sounds.types import Triple, triple_of
from splat.system.foreign import filled

ABOUT = 3
"""Bins to each side whose power tells what is to be expected of one."""


@dataclass
class Hearing:
    """What a scene sounds like at places of the input, for sounds of sources in it."""

    model: Audible
    sources: tuple[Source, ...]
    """Those that it learned from."""
    bounds: tuple[Triple, Triple]
    """Low and high corner of the scene, frame of the input."""
    starts: Float[Tensor, "m 3"]
    """Where the audio points were at first, frame of the input."""
    seen: Seen = field(repr=False)

    @property
    def kind(self) -> Kind:
        """Whether it knows impulse responses, or masks for what a source plays."""
        return self.model.settings.kind

    @property
    def rate(self) -> int:
        """Hz."""
        return self.model.settings.rate

    @property
    def metres(self) -> float:
        """What one unit of the input is."""
        return self.model.settings.metres

    @property
    def began(self) -> int:
        """Audio points that there were at first."""
        return len(self.starts)

    @property
    def points(self) -> Float[Tensor, "n 3"]:
        """Where the audio points are, frame of the input."""
        return self.model.cloud["mean"].detach().cpu() / self.metres

    def inside(self, ears: Ears) -> bool:
        """Whether a listener is within the bounds, or hardly outside."""
        return within(ears.position, self.bounds, MARGIN / self.metres)

    @torch.no_grad()
    def responses(self, ears: Sequence[Ears], source: Source) -> Float[Tensor, "n 2 samples"]:
        """Impulse responses, left ear first; the source sounds at sample 0."""
        maker = self.model.maker
        if not isinstance(maker, Responder):
            raise ValueError(
                "this field was trained on recordings and has no impulse responses; expected one"
                " trained on responses: ask for its masks"
            )
        heard = self.seen.listening(ears, [source] * len(ears), self.metres)
        return responses(self.model, maker, heard)

    def spectrograms(
        self, ears: Sequence[Ears], source: Source
    ) -> Float[Tensor, "n 2 bins frames"]:
        """Magnitudes to be expected of impulse responses (`measure.spectra`), less chance.

        A response has noise of its own in it. Its power about each frequency is what the field
        tells; noise of that power has sqrt(pi) / 2 times its root as mean magnitude (Rayleigh).
        """
        power = _spread(measure.spectra(self.responses(ears, source)).square())
        found: Tensor = power.sqrt() * (math.pi**0.5 / 2)
        return found

    @torch.no_grad()
    def masks(
        self, ears: Sequence[Ears], source: Source
    ) -> tuple[Float[Tensor, "n bins"], Float[Tensor, "n bins"]]:
        """Mixture masks, 0 or more, and difference masks, -1 to 1, by frequency."""
        maker = self.model.maker
        if not isinstance(maker, Recorder):
            raise ValueError(
                "this field was trained on impulse responses and has no masks; expected one trained"
                " on recordings: ask for its responses"
            )
        heard = self.seen.listening(ears, [source] * len(ears), self.metres)
        parts = [maker(self.model(heard[rows]).masks) for rows in _batches(len(heard))]
        mixture, difference = (torch.cat(each) for each in zip(*parts, strict=True))
        return mixture, difference


def responses(model: Audible, maker: Responder, heard: Listening) -> Float[Tensor, "n 2 samples"]:
    """What listeners hear of a click at the source, in its time."""
    found = []
    for rows in _batches(len(heard)):
        some = heard[rows]
        later, part = shifts(maker.grid, some.distance)
        local = maker(model(some).masks, some, part)
        found.append(placed(local, maker.grid, later))
    return torch.cat(found)


def _spread(power: Float[Tensor, "n 2 bins frames"]) -> Float[Tensor, "n 2 bins frames"]:
    """Means about each frequency, by Hann's window over `ABOUT` bins to each side."""
    weight = torch.hann_window(2 * ABOUT + 3, periodic=False, dtype=power.dtype)[1:-1]
    rows = power.mT.flatten(0, 2)[:, None]
    padded = F.pad(rows, (ABOUT, ABOUT), mode="reflect")
    found: Tensor = F.conv1d(padded, (weight / weight.sum()).to(power)[None, None])
    spread: Tensor = found[:, 0].unflatten(0, power.mT.shape[:3]).mT
    return spread


def _batches(many: int) -> list[slice]:
    return [slice(i, i + TOGETHER) for i in range(0, many, TOGETHER)]


def kept(hearing: Hearing) -> dict[str, Any]:
    """What a checkpoint has beside the model, so that it can be heard without its scene."""
    return {
        "sources": [[list(s.position), s.facing and list(s.facing)] for s in hearing.sources],
        "depths": [hearing.seen.depths(source) for source in hearing.sources],
        "bounds": [list(corner) for corner in hearing.bounds],
        "starts": hearing.starts,
    }


def opened(path: Path, look: Look) -> tuple[Hearing, Mapping[str, Any]]:
    """The field of a checkpoint, and the state; `look` is asked about sources that it lacks."""
    state = loaded(path)
    with fitting(state):
        columns = state["model"]["cloud"]["columns"]
        rows = {name: column["values"] for name, column in columns.items()}
        settings = filled(Settings, state["settings"])
        model = Audible(rows, settings, state["seed"], state["steps"])
        for name in state["model"]["cloud"]["statistics"]:
            model.cloud.track(name)
        model.load(state["model"])
        sources = tuple(
            Source(triple_of(place), None if facing is None else triple_of(facing))
            for place, facing in state["sources"]
        )
        seen = Seen(look, list(zip(sources, state["depths"], strict=True)))
        low, high = (triple_of(corner) for corner in state["bounds"])
        return Hearing(model, sources, (low, high), state["starts"], seen), state
