"""How the folder of a scene is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from splat.system.numbers import hint


@dataclass(frozen=True)
class Reading:
    """How the folder of a scene is read."""

    images: Annotated[str | None, hint("the dataset's own")] = None
    """Folder of the photos within the scene, such as images_4."""
    masks: str = "auto"
    """auto: those of the dataset or in masks/; none; or the name of another folder."""
    eval: str = "auto"
    """Views held out to measure with. auto: the dataset's own split, or every 8th; N: every Nth;
    path: a fifth of the path in one piece; none; all: train and measure on all; or names: a text
    file, or a list with commas."""
    depths: str = "auto"
    """Depth maps to learn from, called as the photos (.png of 16 bits, .exr, .npy). auto: those in
    depths/; none; or the name of another folder."""
    normals: str = "auto"
    """Normal maps to learn from (.png, .npy). auto: those in normals/; none; or the name of another
    folder."""
    depth_kind: Literal["auto", "metric", "affine", "inverse"] = "auto"
    """What depth maps hold: depth in units of the poses; depth up to a factor and a summand for
    each photo; or one over depth up to these. auto: what depths.json says, else affine."""
    allow_outside: bool = False
    """Read photos that the scene names outside of its folder, as ../photos/1.jpg."""
