"""Cameras that look somewhere: z is up in the world, pictures are upright."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from splat.types import Camera


def lens(width: int, height: int, field_of_view: float) -> Float[Tensor, "3 3"]:
    """Intrinsics of a picture that spans so many degrees across, its middle straight ahead."""
    focal = 0.5 * width / np.tan(np.radians(field_of_view) / 2)
    return torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]).float()


def standing(
    poses: Iterable[np.ndarray], width: int, height: int, field_of_view: float
) -> list[Camera]:
    """Cameras of one lens at poses, numbered in their order."""
    K = lens(width, height, field_of_view)
    return [
        Camera(torch.from_numpy(pose).float(), K, width, height, index=index)
        for index, pose in enumerate(poses)
    ]


def towards(heading: float, pitch: float) -> np.ndarray:
    """Unit direction, radians: `heading` from +x to +y, `pitch` up from the horizon."""
    level = np.cos(pitch)
    return np.array([level * np.cos(heading), level * np.sin(heading), np.sin(pitch)])


def looking(
    eye: np.ndarray, forward: np.ndarray, up: np.ndarray | tuple[float, ...] = (0.0, 0.0, 1.0)
) -> np.ndarray:
    """World to camera of an eye that looks along the unit vector `forward`, `up` upright."""
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = [right, np.cross(forward, right), forward]
    pose[:3, 3] = -pose[:3, :3] @ eye
    return pose
