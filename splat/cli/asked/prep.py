"""What `splat prep` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.options.verbs import Json, Quiet
from splat.prep import PrepOptions
from splat.system.numbers import hint


@dataclass(frozen=True)
class Prep:
    """Make a posed scene of photographs or of a video: splat prep photos/ -o scene/

    A second run goes on where the first was interrupted; changed options redo what they change.
    """

    source: tyro.conf.Positional[Path]
    """Folder of photos, which is searched with all folders in it, or a video; or a folder of
    several videos of one moment."""
    out: Annotated[
        Path | None, tyro.conf.arg(aliases=["-o"]), hint("the name of the source and _scene")
    ] = None
    """Folder for the scene."""
    overwrite: bool = False
    """Start anew in a folder that was prepared before."""
    json: Json = False
    quiet: Quiet = False
    preparing: PrepOptions = field(default_factory=PrepOptions)
