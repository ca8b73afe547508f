"""What `splat clean` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.cleanup.choices import Limits
from splat.options.verbs import DrawOn, Json, Overwrite, Quiet, check_target
from splat.system.numbers import hint
from splat.system.ranges import at_least, check_fields


@dataclass(frozen=True)
class Clean:
    """Take debris out of a run, or of a file of Gaussians, and write what is left to a file.

    What is removed by default is hardly ever wanted. Every limit may be changed, and 0 switches a
    reason off: splat clean scene.ply -o clean.ply --floaters 100 --needles 0. Of a run, or with
    --cameras, views say what floats before surfaces, too: splat clean run/ -o clean.ply
    """

    file: tyro.conf.Positional[Path]
    """The file to read, or the folder of a run."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"]), hint("needed to write")] = None
    """The file to write; its ending says which format."""
    limits: Limits = field(default_factory=Limits)
    cameras: Annotated[Path | None, hint("those of the run")] = None
    """The cameras.json of a run: Gaussians that are drawn in none of them are removed too."""
    views: Annotated[int, at_least(0)] = 40
    """Most of these views that are asked which Gaussians float: nearer to a camera than anything
    is known to be, or in the free space before surfaces. Photos of a run speak for what they need.
    0: none is asked."""
    dry_run: bool = False
    """Say what would be removed, and write nothing."""
    overwrite: Overwrite = False
    device: DrawOn = "auto"
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
        check_target(self.out, self.dry_run)
