"""What `splat eval` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from splat.options import Reading
from splat.options.verbs import DrawOn, DrawWith, Json, Quiet
from splat.system.numbers import hint


@dataclass(frozen=True)
class Evaluate:
    """Measure a run, or a file of Gaussians, on held-out photos.

    The metrics of a run are brought up to date. For a file, --scene says which photos.
    """

    what: tyro.conf.Positional[Path]
    """Folder of a run, or a file of Gaussians in the frame of the scene."""
    scene: Annotated[Path | None, hint("that of the run")] = None
    """Folder of the scene: for a file, or where that of a run was moved to."""
    fit: Literal["auto", "none", "exposure", "pose", "both"] = "auto"
    """What of each held-out photo is fitted on its left half; figures are of the right half then.
    auto: what the run learned of the photos that it trained on."""
    off_path: bool = False
    """Measure also where no photo was taken: nearer, farther, higher and from between cameras
    against truth, where the scene was generated; from halfway between photos without it."""
    net: Literal["alex", "vgg", "none"] = "alex"
    """Network of LPIPS; figures of different networks do not compare."""
    json: Json = False
    quiet: Quiet = False
    downscale: float | Literal["auto"] = "auto"
    """For a file: shrink the photos this many times."""
    max_side: Annotated[int | None, hint("fitted to the device")] = None
    """For a file: longest side of a photo, pixels; 0: as it is."""
    background: str = "auto"
    """For a file: black, white or #rrggbb behind everything."""
    device: DrawOn = "auto"
    renderer: DrawWith = "auto"
    reading: Reading = field(default_factory=Reading)
