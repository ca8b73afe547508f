"""What `splat train-teacher` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from splat.cli.asked.taught import Teaching
from splat.dream.choices import Schooling


@dataclass(frozen=True)
class TrainTeacher(Teaching):
    """Train a small teacher of pictures on things with words, for `splat dream`.

    python -m splat.datasets.objects things/ --count 1000
    splat train-teacher things/ -o teacher/
    splat dream "a large red torus" -o torus.ply --teacher teacher/
    """

    size: int = 64
    """Side of its pictures, pixels, a multiple of 16."""
    width: int = 32
    """Channels of the finest level of its network, a multiple of 8."""
    schooling: Annotated[Schooling, tyro.conf.arg(name="")] = field(default_factory=Schooling)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width is {self.width}; expected a multiple of 8")
