"""Cameras out of the numbers that datasets write."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from splat.formats.rotations import matrix_of_unit
from splat.scene import Camera, Lens
from splat.system.foreign import Broken, shown

LONGEST = 1 << 24
"""Longest side of a photo that is believed, pixels."""


def pinhole(
    world_to_camera: npt.NDArray[np.float64],
    focal: tuple[float, float],
    principal: tuple[float, float],
    size: tuple[int, int],
    time: float = 0.0,
) -> Camera:
    """A camera of our convention; the pose keeps 64 bits, for scenes far from their origin.

    Raises `Broken`.
    """
    with np.errstate(over="ignore"):
        values = np.array([*focal, *principal, time, *world_to_camera.ravel()], np.float32)
    if not np.isfinite(values).all():
        raise Broken("the camera holds NaN, infinite or huge numbers; expected finite ones")
    check_size(size)
    if values[:2].min() <= 0:
        raise Broken(
            f"the camera has focal lengths {focal[0]:g}, {focal[1]:g} and {size[0]}x{size[1]} "
            "pixels; expected numbers above 0"
        )
    (fx, fy), (cx, cy) = focal, principal
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
    return Camera.of_arrays(world_to_camera.copy(), K, *size, time=time)


def rotation(quaternion: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rotation of a (w, x, y, z) quaternion, which need not be unit (`splat.math` has that of
    many); raises `Broken` where it has no length."""
    length = np.sqrt(np.square(quaternion).sum())
    if not length > 0:
        raise Broken("its rotation is a quaternion of zeros or NaN; expected a unit one")
    return matrix_of_unit(quaternion / length)


def check_size(size: tuple[int, int]) -> None:
    """Raise `Broken` where no photo has as many pixels."""
    if min(size) <= 0 or max(size) > LONGEST:
        width, height = map(shown, size)
        raise Broken(f"the camera has {width}x{height} pixels; expected 1 to {LONGEST:,} a side")


def lens(family: str, coefficients: tuple[float, ...]) -> Lens | None:
    """The lens, or None where it does nothing; raises `Broken`."""
    if not np.isfinite(coefficients).all():
        raise Broken("its lens has a NaN or infinite coefficient; expected finite ones")
    if family == "radial" and not any(coefficients):
        return None
    return Lens(family, coefficients)
