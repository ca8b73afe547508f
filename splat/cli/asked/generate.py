"""What `splat generate` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.options.verbs import Json, Overwrite, Quiet
from splat.system.numbers import hint
from splat.system.ranges import at_least, check_fields


@dataclass(frozen=True)
class Generate:
    """Make Gaussians of a text, by a generator that was trained (`splat train-generator`).

    splat generate "a glossy red torus" -o scene.ply --seed 3
    splat generate "a glossy red torus" -o scene.spz --generator mine.py:Mine
    Ours knows the words of what it learned from, and says so of others.
    """

    text: tyro.conf.Positional[str]
    """What to make, in words."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = field(kw_only=True)
    """The file of Gaussians to write; its ending says which format."""
    seed: Annotated[int, at_least(0)] = 0
    """Of all draws: another one makes another thing, the same the same bytes."""
    model: Path = Path("model")
    """Folder or file of a trained generator."""
    encoder: Annotated[str | None, hint("as its file says")] = None
    """Where the text encoder is that it was trained with, if with one of a folder."""
    generator: Annotated[str | None, hint("the trained one")] = None
    """Somebody's own instead: module:Class or file.py:Class, whose objects are called with a text
    and seed=..., and give splat.types.Gaussians."""
    guidance: Annotated[float | None, at_least(0), hint("as trained")] = None
    """How much the text counts, of the trained one; 1: no more than it was learned to."""
    samples: Annotated[int | None, at_least(1), hint("as trained")] = None
    """Steps in which its field is drawn."""
    overwrite: Overwrite = False
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
        own = (self.guidance, self.samples, self.encoder)
        if self.generator is not None and any(each is not None for each in own):
            raise ValueError(
                "guidance, samples and encoder are of the trained generator, and --generator names"
                " another; leave them out"
            )
