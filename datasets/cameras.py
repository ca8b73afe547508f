"""Cameras out of the numbers that datasets write."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from splat.types import Camera, Lens


def pinhole(
    world_to_camera: npt.NDArray[np.float64],
    focal: tuple[float, float],
    principal: tuple[float, float],
    size: tuple[int, int],
    time: float = 0.0,
) -> Camera:
    """A camera of our convention; the pose keeps 64 bits, for scenes far from their origin.

    Raises ValueError with a clause to stand behind the name of a file.
    """
    values = np.array([*focal, *principal, time])
    if not (np.isfinite(values).all() and np.isfinite(world_to_camera).all()):
        raise ValueError("the camera holds NaN or infinite numbers; expected finite ones")
    if min(focal) <= 0 or min(size) <= 0:
        raise ValueError(
            f"the camera has focal lengths {focal[0]:g}, {focal[1]:g} and {size[0]}x{size[1]} "
            "pixels; expected numbers above 0"
        )
    (fx, fy), (cx, cy) = focal, principal
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float32)
    return Camera(torch.from_numpy(world_to_camera.copy()), K, *size, time=time)


def lens(family: str, coefficients: tuple[float, ...]) -> Lens | None:
    """The lens, or None where it does nothing."""
    if family == "radial" and not any(coefficients):
        return None
    return Lens(family, coefficients)
