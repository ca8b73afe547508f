"""What `splat render` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from splat.options.verbs import DrawOn, DrawWith, Json, Overwrite, Quiet
from splat.system.numbers import hint
from splat.system.ranges import at_least, check_fields


@dataclass(frozen=True)
class Render:
    """Draw a run, or a file of Gaussians, along a path of cameras."""

    what: tyro.conf.Positional[Path]
    """Folder of a run, or a file of Gaussians."""
    out: Annotated[
        Path | None, tyro.conf.arg(aliases=["-o"]), hint("turntable.mp4 and the like, in the run")
    ] = None
    """A name ending in .mp4 or .webm (videos), .gif or .webp (pictures that move), or a folder for
    PNGs."""
    format: Annotated[
        Literal["mp4", "webm", "gif", "webp"] | None, hint("mp4; webp without PyAV")
    ] = None
    """What to write where no name is given."""
    path: str = "turntable"
    """turntable; along: smoothly through the cameras of the scene; views: just these cameras; or
    a JSON file of cameras (nerfstudio's camera path, or as cameras.json of a run)."""
    frames: Annotated[int, at_least(1)] = 120
    """Pictures of turntable and along."""
    fps: float = 30
    """Pictures a second of a video."""
    time: Annotated[str | None, hint("0:1, and of views their own")] = None
    """Of a scene that moves: an instant that stands still, 0 to 1 of the clip, or what passes while
    the path does, such as 0:1."""
    max_side: Annotated[int | None, hint("as the cameras have it")] = None
    """Longest side of a picture, pixels."""
    cameras: Annotated[Path | None, hint("those of the run")] = None
    """The cameras.json of a run, to draw a file of Gaussians with."""
    background: str = "auto"
    """black, white or #rrggbb; auto: as in training."""
    exposure_of: Annotated[str | None, hint("the mean of all photos")] = None
    """Of a run that learned exposures: the training photo, by its name, whose exposure pictures are
    to have."""
    sound: Annotated[Path | None, hint("none")] = None
    """A WAV file that a source in the scene plays, to be heard along the path under a video, of a
    run whose field of sound is trained. It is cut, or followed by silence, to be as long."""
    source_at: Annotated[
        tuple[float, float, float] | None,
        tyro.conf.arg(name="from"),
        hint("the first that was trained"),
    ] = None
    """Where that source is, X Y Z in the coordinates of the scene."""
    device: DrawOn = "auto"
    renderer: DrawWith = "auto"
    overwrite: Overwrite = False
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
