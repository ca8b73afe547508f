"""Records of a scene as it lies on disk, without a tensor: who only reads or tells waits for no
torch. `splat.types` has the same names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

NEAR = 0.01
"""Depth from which gsplat 1.5.3 draws."""


@dataclass(frozen=True)
class Drawing:
    """How a set of Gaussians was drawn while it was trained; files carry it along."""

    antialiased: bool = False
    """Whether opacity was compensated for the low-pass filter (Mip-Splatting)."""
    near: float | None = None
    """Depth from which Gaussians were drawn, units of the input; None: from where any program draws
    them (`NEAR`)."""

    @property
    def plain(self) -> Drawing:
        """As any program draws them: what hangs before cameras is seen. Figures are of this."""
        return replace(self, near=None)


@dataclass(frozen=True)
class Lens:
    """How a lens bends what a pinhole would see; undone when the photograph is decoded."""

    model: str
    """A family of `splat.photos.lens`: `radial`, `fisheye`, `thin_prism_fisheye`, `fov`, ..."""
    coefficients: tuple[float, ...]
    """Coefficients for points on the plane z = 1; focal lengths are the camera's."""


@dataclass(frozen=True)
class Cut:
    """Where a pinhole view lies in a photo that sees too much for one: a panorama, a fisheye."""

    rotation: tuple[float, ...]
    """Nine numbers, row by row: from the axes of the view to those of the photograph."""
    focal: tuple[float, float]
    """Focal lengths of the photograph, pixels; of a panorama pixels per radian, across and down."""
    principal: tuple[float, float]
    """Pixel of the photograph that looks along its axis."""
    size: tuple[int, int]
    """Width and height of the photograph."""
    lens: Lens | None = None
    """A fisheye; None: the photograph is an equirectangular panorama."""
    limit: float = math.pi
    """Angle to the axis, radians, beyond which the photograph shows nothing."""


@dataclass(frozen=True)
class DepthFile:
    """Depth that is known beside a photograph, not yet decoded."""

    path: Path
    kind: Literal["metric", "affine", "inverse"] = "affine"
    """Kind of its values: camera z, camera z up to scale and shift, or 1 / z up to these."""
    scale: float = 1.0
    """World units of the input per number, where they are metric."""


@dataclass(frozen=True)
class NormalFile:
    """Normals that are known beside a photograph, not yet decoded."""

    path: Path
    frame: Literal["camera", "opengl", "world"] = "camera"
    """Their axes: those of the camera as ours are, of the camera with +y up and +z towards it, or
    the world's."""


@dataclass(frozen=True)
class Clip:
    """How long a scene that moves goes on, and at how many instants it was photographed."""

    seconds: float
    """From the first instant to the last."""
    instants: int


@dataclass(frozen=True)
class Frame:
    """Similarity between the input frame and the one trained in: x' = scale * (x - centre)."""

    centre: tuple[float, float, float]
    """What becomes the origin, input units."""
    scale: float
    """Factor on lengths."""
