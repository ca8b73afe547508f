"""What is asked of the training of a generator, which help reads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from splat.system.ranges import above, at_least, check_fields, within


@dataclass(frozen=True)
class Taught:
    """What is asked of a training; one that goes on has it from its start."""

    steps: Annotated[int, at_least(1)] = 8000
    """Steps of the first stage, which learns fields."""
    surface_steps: Annotated[int, at_least(1)] = 8000
    """Steps of the second, which learns where Gaussians are near the surfaces of fields."""
    attribute_steps: Annotated[int, at_least(1)] = 2000
    """Steps of the third, which learns what Gaussians look like."""
    size_steps: Annotated[int, at_least(1)] = 1000
    """Steps of the fourth, which learns how large things are that texts tell of."""
    batch: Annotated[int, at_least(1)] = 8
    """Things of a step."""
    rate: Annotated[float, above(0)] = 5e-4
    """Learning rate at most; it rises at first, and falls along a cosine."""
    dropped: Annotated[float, within(0, 1, high_open=True)] = 0.1
    """Share of texts left out, from which guidance learns what is said without one."""
    seed: Annotated[int, at_least(0)] = 0
    """Of networks and of all draws."""

    def __post_init__(self) -> None:
        check_fields(self)
