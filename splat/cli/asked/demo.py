"""What `splat demo` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.options import Viewing, Watching
from splat.options.verbs import DeviceName, Json
from splat.system.numbers import hint


@dataclass(frozen=True)
class Demo:
    """Train the built-in scene: a still life of 60 pictures, drawn when first asked for.

    It is measured on the pictures held out, every 500 steps, and exported; the contact sheet
    shows each result.
    """

    out: Annotated[
        Path | None, tyro.conf.arg(aliases=["-o"]), hint("runs/demo, or runs/moving")
    ] = None
    """Folder for the run."""
    moving: bool = False
    """Train the built-in clip: the still life in motion, seen by 27 cameras at 24 instants."""
    overwrite: bool = False
    """Replace the run that is in the folder."""
    steps: int = 2500
    """Steps to train for."""
    cap: int = 30_000
    """Most Gaussians."""
    device: DeviceName = "auto"
    """Where to train."""
    json: Json = False
    watching: Watching = field(default_factory=lambda: Watching(eval_every=500))
    viewing: Viewing = field(default_factory=Viewing)
