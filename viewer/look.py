"""The settings of a visitor's view, and the picture drawn for them."""

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
    """Settings of a view, without the camera. Plain data, replaced as a whole."""

    mode: Mode = "colour"
    moment: float = 0.0
    """Time of a scene that moves, 0 to 1 of its clip."""
    heat: str = "opacity"
    """Quantity that the heatmap shows: a name of `splat.viewer.values`."""
    colors: str = "turbo"
    percent: tuple[float, float] = (1, 99)
    """Percentiles of the numbers that the colours cover."""
    log: bool = False
    recent: int = 500
    """Number of last steps of which events are shown."""
    ghosts: bool = True
    """Whether rows pruned in these steps are shown."""
    doomed: bool = False
    """Whether rows that would be pruned next are shown."""
    box: Box | None = None
    """Box outside of which nothing is drawn: low corner, high corner, frame of training."""
    inward: bool = True
    """Whether the scene is looked into from farther away than its photos: what lies nearer than
    where they were taken is not drawn."""
    floaters: bool = True
    """Whether floaters and other debris are drawn."""
    faintest: float = 0.0
    """Opacity below which Gaussians are not drawn."""
    then: int | None = None
    """Step of a snapshot; None: no snapshot is chosen."""
    past: bool = False
    """Whether that snapshot is shown in place of the present Gaussians."""
    against: Against = "nothing"
    """What the picture is compared with."""
    difference: bool = False
    """Whether the difference of both is shown, in place of one beside the other."""
    gain: float = 4.0
    """Factor on the difference."""
    longest: int = 1600
    """Most pixels of the longer side."""
    wipe: float = 0.5
    """Position of the border between both pictures, 0 left to 1 right."""
    overlay: bool = False
    """Whether things in the scene are hidden by Gaussians before them."""


@dataclass(frozen=True)
class Picture:
    """A picture for a visitor."""

    pixels: Pixels
    depth: NDArray[np.float32] | None = None
    """Camera depth, frame of training, large where nothing is; it hides things that stand in the
    scene."""
    legend: Pixels | None = None
    note: str = ""
    """A note on the picture: which photo it shows, or why there is nothing."""
