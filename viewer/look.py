"""What a visitor asks to see, and the picture that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from splat.viewer.colors import Pixels

Mode = Literal["colour", "depth", "alpha", "normals", "error", "photo", "heatmap", "events"]
Against = Literal["nothing", "photo", "other", "past"]
Box = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Look:
    """What is asked for, but for the camera. Plain data, replaced as a whole."""

    mode: Mode = "colour"
    heat: str = "opacity"
    """Of what the heatmap is: a name of `splat.viewer.values`."""
    colors: str = "turbo"
    percent: tuple[float, float] = (1, 99)
    """Percentiles of the numbers at which the colours end."""
    log: bool = False
    recent: int = 500
    """Steps that events are shown for."""
    ghosts: bool = True
    """Whether what died in these steps is shown."""
    doomed: bool = False
    """Whether what would be pruned next is shown."""
    box: Box | None = None
    """Only what lies in it is drawn: low corner, high corner, frame of training."""
    floaters: bool = True
    """Whether floaters and other debris are drawn."""
    faintest: float = 0.0
    """Opacity below which nothing is drawn."""
    then: int | None = None
    """A step of which there is a snapshot."""
    past: bool = False
    """Whether that snapshot is shown in place of what is there now."""
    against: Against = "nothing"
    """What the picture is held against."""
    difference: bool = False
    """Whether their difference is shown, and not one beside the other."""
    gain: float = 4.0
    """Times the difference is enlarged."""
    longest: int = 1600
    """Pixels of the longer side, at most."""
    wipe: float = 0.5
    """Where the picture ends and the other begins, 0 left to 1 right."""
    overlay: bool = False
    """Whether things in the scene are hidden by what is drawn before them."""


@dataclass(frozen=True)
class Picture:
    """What was drawn."""

    pixels: Pixels
    depth: NDArray[np.float32] | None = None
    """Camera depth, frame of training, large where nothing is; for what stands in the scene."""
    legend: Pixels | None = None
    note: str = ""
    """What must be said about it: which photo, or why there is nothing."""
