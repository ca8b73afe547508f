"""What is asked of the training of a teacher, which help reads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

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
