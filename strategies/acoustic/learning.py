"""Learning to hear: the loop over places where a scene was heard.

A step draws some of the training places, hears them through the points, and moves guidance and
networks; density control looks on and edits the points. All draws are functions of (seed, step,
purpose), so that a run that goes on ends as one that never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.core.edit import Change
from splat.loop import stream
from splat.runs import checkpoint
from splat.strategies.acoustic.audible import Audible, Seen
from splat.strategies.acoustic.density import AudioGuided, AudioStep, left_out
from splat.strategies.acoustic.geometry import Listening
from splat.strategies.acoustic.losses import ResponseLoss, Weights
from splat.strategies.acoustic.measure import onset
from splat.strategies.acoustic.recording import Recorder, RecordingLoss
from splat.strategies.acoustic.response import Responder, localized, shifts
from splat.strategies.acoustic.sounds import Heard, SoundData, read_wav
from splat.strategies.acoustic.units import metres

FORMAT = "splat audio checkpoint"
VERSION = 2
SHORTEST = 0.05
"""Seconds that the longest response must last, as long as what C50 takes for early sound."""
ASKED = 64
"""Most places that are asked when they are reached."""
TOGETHER = 16
"""Listeners heard at a time where no gradient is wanted."""


@dataclass(frozen=True)
class Places:
    """Where a scene was heard, and what."""

    heard: Listening
    truth: Float[Tensor, "n 2 samples"]
    """As recorded: at time 0 the source sounds, or began to play."""
    dry: Float[Tensor, "n samples"] | None = None
    """What was played, of recordings."""

    def __len__(self) -> int:
        return len(self.truth)


def places(data: SoundData, sounds: Sequence[Heard], seen: Seen, unit: float) -> Places:
    """Decode sounds and find out what their listeners see; files that do not fit raise."""
    truth = [_stereo(data, each) for each in sounds]
    length = max(each.shape[1] for each in truth)
    if data.kind == "responses" and length < SHORTEST * data.rate:
        raise ValueError(
            f"{data.path}: its responses last at most {length / data.rate:.3f} s; expected"
            f" {SHORTEST:g} s or more: record until the sound has died away"
        )
    padded = torch.stack([torch.nn.functional.pad(t, (0, length - t.shape[1])) for t in truth])
    dry = None
    if data.kind == "recordings":
        played = [_dry(data, each, length) for each in sounds]
        dry = torch.stack(played)
    sources = [data.sources[each.source] for each in sounds]
    heard = seen.listening([each.ears for each in sounds], sources, unit)
    return Places(heard, padded, dry)


def metres_of(data: SoundData) -> tuple[float, str]:
    """Metres of a unit of the scene, by when sounds arrive, and what to say of it."""
    if data.kind != "responses":
        return 1.0, ""
    arrivals, distances = [], []
    for each in data.train[:: max(1, len(data.train) // ASKED)]:
        arrivals.append(onset(_stereo(data, each)) / data.rate)
        distances.append(math.dist(each.ears.position, data.sources[each.source].position))
    return metres(arrivals, distances)


def _stereo(data: SoundData, each: Heard) -> Float[Tensor, "2 samples"]:
    return read_wav(each.file, channels=2, rate=data.rate, start=each.start, seconds=each.seconds)


def _dry(data: SoundData, each: Heard, length: int) -> Float[Tensor, "samples"]:
    if each.dry is None:
        raise ValueError(f"{each.name} does not say what was played; expected a mono file: add it")
    found = read_wav(
        each.dry, channels=1, rate=data.rate, start=each.start, seconds=length / data.rate
    )
    return found[0]


@dataclass
class Learning:
    """One run of learning to hear."""

    model: Audible
    strategy: AudioGuided
    places: Places
    steps: int
    seed: int = 0
    batch: int = 16
    """Listeners of a step."""
    dropped: float = 0.0
    """Share of the points that a step does without: others have to tell what they would."""
    weights: Weights = field(default_factory=Weights)
    step: int = 0
    """Steps done."""
    watch: Callable[[Learning, Mapping[str, float], Change], None] | None = None

    def __post_init__(self) -> None:
        self.strategy.begin(self.model)
        maker, heard = self.model.maker, self.places.heard
        if isinstance(maker, Responder):
            later, part = shifts(maker.grid, heard.distance)
            local = localized(self.places.truth, maker.grid, later)
            maker.expect(local, heard)
            self._part, self._response = part, ResponseLoss(local, maker.grid)
        elif self.places.dry is not None:
            maker.expect(self.places.truth, self.places.dry)
            self._recording = RecordingLoss(self.places.truth, self.places.dry)

    def generator(self, purpose: str) -> torch.Generator:
        """A fresh random stream that depends on (seed, step, purpose) only."""
        return stream(self.seed, self.step, purpose, self.model.cloud.device)

    def advance(self) -> None:
        """One step."""
        model, many = self.model, min(self.batch, len(self.places))
        draw = self.generator("places")
        rows = torch.randperm(len(self.places), generator=draw, device=draw.device)[:many]
        points = self._points()
        found = model(self.places.heard[rows], points)
        terms = self._terms(found.masks, rows)
        total = sum(terms.values(), torch.zeros(()))
        total.backward()
        step = AudioStep(
            self.step,
            model,
            self._of_all((found.weight > 0).float(), points),
            self._of_all(_lengths(found.guidance, many), points),
            self._of_all(left_out(found.context, found.weight), points),
            self.generator,
        )
        with torch.no_grad():
            self.strategy.observe(step)
            model.cloud.optimize(self.step)
            model.network.optimize(self.step, 1.0)
            model.network.optimizer.zero_grad(set_to_none=True)
            change = model.apply(self.strategy.refine(step))
        self.step += 1
        if self.watch is not None:
            said = {name: float(value.detach()) for name, value in terms.items()}
            self.watch(self, said, change)

    def _points(self) -> Int[Tensor, "k"] | None:
        """The points that this step hears by, ascending; None: all."""
        whole = len(self.model.cloud)
        many = max(1, round((1 - self.dropped) * whole))
        if many >= whole:
            return None
        draw = self.generator("points")
        return torch.randperm(whole, generator=draw, device=draw.device)[:many].sort().values

    def _of_all(
        self, values: Float[Tensor, "b k"], points: Int[Tensor, "k"] | None
    ) -> Float[Tensor, "b n"]:
        """Values of some points as values of all, 0 for the others."""
        if points is None:
            return values
        found = values.new_zeros(len(values), len(self.model.cloud))
        found[:, points] = values
        return found

    def _terms(self, masks: Any, rows: Tensor) -> dict[str, Tensor]:
        maker = self.model.maker
        if isinstance(maker, Recorder):
            mixture, difference = maker(masks)
            return self._recording(mixture, difference, rows)
        heard = self.places.heard[rows]
        found = self._response(maker(masks, heard, self._part[rows]), rows)
        return {name: getattr(self.weights, name) * value for name, value in found.items()}

    def save(self, path: Path, **more: Any) -> None:
        """Write the whole state; `more` is kept beside it."""
        settings = self.model.settings
        checkpoint.write(
            {
                "format": FORMAT,
                "version": VERSION,
                "step": self.step,
                "steps": self.steps,
                "seed": self.seed,
                "settings": dict(vars(settings)),
                "model": self.model.state(),
                **more,
            },
            path,
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state of a run that was built alike."""
        self.model.load(state["model"])
        self.step = int(state["step"])


def loaded(path: Path) -> checkpoint.State:
    """What a checkpoint of sound holds; raises ValueError where it is none, newer or too old."""
    state = checkpoint.load(path, FORMAT, VERSION)
    if state["version"] < VERSION:
        raise ValueError(
            f"{path} has format {state['version']} of what is learned of sound, this splat reads"
            f" {VERSION}; train it again: splat train-audio with --overwrite"
        )
    return state


def _lengths(guidance: Float[Tensor, "b n g"], many: int) -> Float[Tensor, "b n"]:
    """Of the derivatives of each listener's own loss: the mean over listeners has 1/b of it."""
    if guidance.grad is None:
        return guidance.new_zeros(guidance.shape[:2])
    found: Tensor = guidance.grad.norm(dim=-1)
    return many * found


def fixed(strategy: AudioGuided) -> AudioGuided:
    """Density control that never edits."""
    return replace(strategy, begin_at=0, end_at=0)
