"""What `splat dream` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.dream.choices import Dreamt
from splat.options.verbs import DeviceName, Json, Overwrite, Quiet, Resume
from splat.system.numbers import hint
from splat.system.ranges import at_least, check_fields


@dataclass(frozen=True)
class Dream:
    """Make, or restyle, Gaussians under the guidance of a teacher of pictures (DreamFusion, Poole
    et al. 2023).

    splat dream "a large red torus" -o torus.ply --teacher teacher/
    splat dream "a blue torus" --start torus.ply -o blue.ply --teacher teacher/
    Teachers: ours (`splat train-teacher`), the folder of a pipeline of `diffusers` (with the extra
    `dream`), or module:Class of your own.
    """

    text: Annotated[tyro.conf.Positional[str | None], hint("with --resume, as it was begun")] = None
    """What it is to be, in words that the teacher knows."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = field(kw_only=True)
    """The file of Gaussians to write; its ending says which format. Beside it a folder, of its name
    and .dream, holds the checkpoint, the log and pictures."""
    start: Annotated[Path | None, hint("nothing")] = None
    """A run, or a file of Gaussians, to begin with. Of a run the cameras that it was trained in
    look at it; a file is taken for a thing, z up, that cameras go around."""
    teacher: str = "teacher"
    """Folder or file of a teacher, or module:Class or file.py:Class."""
    strategy: str = "mcmc --cap 4k"
    """How Gaussians are born and pruned, a recipe as for `splat train`; one that goes by photos
    needs --start."""
    dreamt: Annotated[Dreamt, tyro.conf.arg(name="")] = field(default_factory=Dreamt)
    resume: Resume = False
    device: DeviceName = "auto"
    """Where to draw and to ask the teacher."""
    threads: Annotated[int | None, at_least(1), hint("all cores")] = None
    """Threads, on whose number nothing depends but time."""
    overwrite: Overwrite = False
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
