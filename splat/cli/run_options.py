"""What `splat train` and `splat resume` are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from splat.options import Options, Reading, Viewing, Watching
from splat.options.blocking import Blocking
from splat.options.verbs import DeviceName, Json, Quiet, RendererName
from splat.system.numbers import hint
from splat.system.ranges import above, check_fields

if TYPE_CHECKING:
    from splat.core.strategy import Strategy
else:
    # Help loads neither methods nor torch; `splat.cli.composed` says which methods there are.
    Strategy = Any


def _usual() -> Strategy:
    from splat.recipes.recipe import usual_strategy

    return usual_strategy()


@dataclass(frozen=True)
class Train:
    """Train a scene from posed photographs.

    Options of the run may stand anywhere, those of a method after its name:
    splat train scene/ --out run/ --downscale 2 --steps 7000 mcmc --cap 60k
    `splat train METHOD --help` says which these are. Parts after a + alter what stands before them;
    `splat strategies list` names them all:
    splat train scene/ mcmc --cap 60k + protect --rule 'age<500' + budget --rows 50k
    """

    scene: tyro.conf.Positional[Path]
    """Folder of posed photographs, of any kind that is read; with --prep of photos, or a video."""
    out: Annotated[
        Path | None, tyro.conf.arg(aliases=["-o"]), hint("runs/ and the name of the scene")
    ] = None
    """Folder for the run."""
    overwrite: bool = False
    """Replace the run that is in the folder."""
    plugin: Annotated[str | None, hint("none")] = None
    """A strategy of one's own, as module:Class or file.py:Class. It becomes the default method;
    its fields become options behind its name in lower case. Or name it so where a method or part
    stands."""
    recipe: Annotated[str | None, hint("none")] = None
    """In place of a method: a text file with what would stand here, such as `mcmc --cap 60k` and
    `+ protect` in as many lines as one likes, # before comments; or that text itself."""
    prep: bool = False
    """The scene is photos without poses, or a video: find the poses first, as `splat prep` does."""
    prep_out: Annotated[Path | None, hint("beside the photos: their name and _scene")] = None
    """Folder for the posed scene of --prep."""
    json: Json = False
    dry_run: bool = False
    """Say what would be trained, and why each value is what it is; train nothing."""
    tune: Literal["off", "auto"] = "off"
    """auto: first try other settings on small pictures, for a tenth of the time at most, and train
    with what is better by them, as `splat suggest` says it."""
    training: Options = field(default_factory=Options)
    reading: Reading = field(default_factory=Reading)
    watching: Watching = field(default_factory=Watching)
    viewing: Viewing = field(default_factory=Viewing)
    blocking: Blocking = field(default_factory=Blocking)
    named: tyro.conf.Suppress[bool] = True
    """Whether the arguments name a method."""
    method: Strategy = field(default_factory=_usual)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Suggest(Train):
    """Say what to change of a run, by trying it on an eighth of the pixels.

    Arguments are those of `splat train`. What they give is left as it is; what they leave open is
    tried otherwise, on photos of those to train on, within a tenth of the time of the run:
    splat suggest scene/ --steps 7000
    `splat train --tune auto` does so, and trains with what was found.
    """

    share: Annotated[float, above(0)] = 0.1
    """Share of the predicted time of the run that trials may take."""


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its last checkpoint.

    On the CPU it ends with the same bytes as if it had never stopped.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    steps: Annotated[int | None, hint("as the run was begun")] = None
    """A new end; a finished run needs one. Schedules are those of a run of that length."""
    scene: Annotated[Path | None, hint("where it was")] = None
    """Folder of the scene, if it was moved."""
    device: Annotated[DeviceName | None, hint("as the run was begun")] = None
    """Where to go on."""
    renderer: Annotated[RendererName | None, hint("as the run was begun")] = None
    """What draws."""
    threads: Annotated[int | None, hint("as the run was begun")] = None
    """Threads on the CPU; results do not depend on it."""
    workers: Annotated[int | None, hint("cores / threads, or one for each GPU")] = None
    """Of a run in blocks, how many are trained at once."""
    on: Annotated[str | None, tyro.conf.arg(metavar="ray|ADDRESS"), hint("this machine")] = None
    """Of a run in blocks, who carries them out (`splat train --help`)."""
    json: Json = False
    quiet: Quiet = False
    viewing: Viewing = field(default_factory=Viewing)
