"""What `splat train-teacher` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.dream.choices import Schooling
from splat.options.verbs import Json, Overwrite, Quiet
from splat.system.numbers import hint
from splat.system.ranges import at_least, check_fields


@dataclass(frozen=True)
class TrainTeacher:
    """Train a small teacher of pictures on things with words, for `splat dream`.

    python -m splat.datasets.objects things/ --count 1000
    splat train-teacher things/ -o teacher/
    splat dream "a large red torus" -o torus.ply --teacher teacher/
    """

    corpus: Annotated[tyro.conf.Positional[Path | None], hint("with --resume, as it was begun")] = (
        None
    )
    """Folder of a corpus, which `python -m splat.datasets.objects` writes."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = field(kw_only=True)
    """Folder of the teacher."""
    resume: bool = False
    """Go on from the last checkpoint; it ends with the same bytes as if it had never stopped."""
    size: int = 64
    """Side of its pictures, pixels, a multiple of 16."""
    width: int = 32
    """Channels of the finest level of its network, a multiple of 8."""
    schooling: Annotated[Schooling, tyro.conf.arg(name="")] = field(default_factory=Schooling)
    threads: Annotated[int | None, at_least(1), hint("all cores")] = None
    """Threads, on whose number nothing depends but time."""
    overwrite: Overwrite = False
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width is {self.width}; expected a multiple of 8")
