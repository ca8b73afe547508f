"""What `splat erase` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.cleanup.choices import Choice, Fill
from splat.options.verbs import DrawOn, Json, Overwrite, Quiet, check_target
from splat.system.numbers import hint
from splat.system.ranges import at_least, check_fields


@dataclass(frozen=True)
class Erase:
    """Take out of a scene what a few 2-D masks mean, and fill what is then seen behind it.

    Paint white what is to go in a few photos, from several sides, and save each mask under its
    photo's name in a folder:

    splat erase run/ --masks gone/ -o clean.ply --fill
    splat erase scene.ply --cameras run/cameras.json --masks gone/ -o clean.ply
    splat erase run/ --masks statue/ --outside -o statue.ply
    """

    what: tyro.conf.Positional[Path]
    """Folder of a run, or a file of Gaussians."""
    masks: Path
    """Folder of masks called as the photos, not black where what is meant shows. Only the photos
    that have one vote; of what a mask means, all must be painted in it."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"]), hint("needed to write")] = None
    """The file to write; its ending says which format. Rows of a .ply that stay are copied to the
    byte into another .ply."""
    choice: Choice = field(default_factory=Choice)
    fill: bool = False
    """Put new Gaussians where the scene is then open: what several views agree on, by classical
    inpainting."""
    filling: Fill = field(default_factory=Fill)
    cameras: Annotated[Path | None, hint("those of the run")] = None
    """The cameras.json of a run, for a file of Gaussians."""
    views: Annotated[int, at_least(1)] = 80
    """With --fill: most training views to look from, evenly spread."""
    max_side: Annotated[int, at_least(0)] = 800
    """Longest side of the pictures looked at, pixels; 0: as the cameras have it."""
    dry_run: bool = False
    """Say what would be removed, and write nothing."""
    overwrite: Overwrite = False
    device: DrawOn = "auto"
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
        check_target(self.out, self.dry_run)
        if self.fill and self.choice.outside:
            raise ValueError(
                "fill and outside are both given, and around what is kept there is nothing to fill;"
                " leave one of them out"
            )
