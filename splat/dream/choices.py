"""What is asked of the training of a teacher, and of a dream, which help reads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from splat.system.numbers import hint
from splat.system.ranges import above, at_least, check_fields, within


@dataclass(frozen=True)
class Schooling:
    """What is asked of a training; one that goes on has it from its start."""

    steps: Annotated[int, at_least(1)] = 2000
    """Steps, each of `batch` pictures."""
    batch: Annotated[int, at_least(1)] = 16
    """Pictures of a step."""
    rate: Annotated[float, above(0)] = 2e-3
    """Learning rate at most; it rises at first, and falls along a cosine."""
    dropped: Annotated[float, within(0, 1, high_open=True)] = 0.15
    """Share of texts left out, from which guidance learns what is seen without one."""
    things: Annotated[int, at_least(0)] = 0
    """Things of the corpus to learn from, the first ones; 0: all."""
    views: Annotated[int, at_least(1)] = 6
    """Pictures of each thing, from directions of their own."""
    seed: Annotated[int, at_least(0)] = 0
    """Of the network and of all draws."""

    def __post_init__(self) -> None:
        check_fields(self)


FROM_NOTHING, FROM_A_START = (0.98, 0.4), (0.6, 0.2)
"""Latest times of noise at the beginning and at the end."""


@dataclass(frozen=True)
class Dreamt:
    """What is asked of a dream; one that goes on has it from its start."""

    steps: Annotated[int, at_least(1)] = 800
    """Steps, each from another camera."""
    points: Annotated[int, at_least(1)] = 2000
    """Gaussians to begin with, where nothing is started from."""
    guidance: Annotated[float, at_least(0)] = 5.0
    """How much the text counts; 1: no more than the teacher has learned. Large values make strong
    colours and simple things."""
    instead: str = ""
    """A text to lead away from, in place of none at all."""
    alone: str = ""
    """What rows that are not frozen are by themselves, a text: half of the guidance is then of a
    picture of them alone (with a part that freezes rows, such as `garment` or `freeze`)."""
    most: Annotated[
        float | None, within(0, 1, low_open=True, high_open=True), hint("0.98, with --start 0.6")
    ] = None
    """Latest time of noise at the beginning, 0 to 1: how much may change."""
    last: Annotated[
        float | None, within(0, 1, low_open=True, high_open=True), hint("0.4, with --start 0.2")
    ] = None
    """The same at the end, to which it falls."""
    keep: Annotated[float, at_least(0)] = 0.0
    """Weight of what --start looks like from each camera, beside what the teacher says."""
    rate: Annotated[float, above(0)] = 1.0
    """Factor on all learning rates."""
    schedule: Literal["scaled", "published"] = "scaled"
    """Whether step numbers of the strategy, which are for 30,000 steps, are fitted to these, or
    taken as they stand."""
    seed: Annotated[int, at_least(0)] = 0
    """Of all draws: the same makes the same bytes."""

    def __post_init__(self) -> None:
        check_fields(self)

    def times(self, *, started: bool) -> tuple[float, float]:
        """Latest times at the beginning and at the end."""
        most, last = FROM_A_START if started else FROM_NOTHING
        most = most if self.most is None else self.most
        return most, min(last, most) if self.last is None else self.last
