"""What verbs that teach networks are asked for alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from splat.options.verbs import Json, Overwrite, Quiet, Resume
from splat.system.numbers import hint
from splat.system.ranges import at_least, check_fields


@dataclass(frozen=True)
class Teaching:
    """A training of networks on things with words."""

    corpus: Annotated[tyro.conf.Positional[Path | None], hint("with --resume, as it was begun")] = (
        None
    )
    """Folder of a corpus, which `python -m splat.datasets.objects` writes."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = field(kw_only=True)
    """Folder of what is trained."""
    resume: Resume = False
    threads: Annotated[int | None, at_least(1), hint("all cores")] = None
    """Threads, on whose number nothing depends but time."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What networks compute in. auto: bfloat16 where the processor multiplies it faster. One that
    goes on has it from its start."""
    overwrite: Overwrite = False
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
