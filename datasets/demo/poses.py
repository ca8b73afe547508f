"""Where the photographer stands: three rings around the still life."""

from __future__ import annotations

import numpy as np
import torch

from splat.types import Camera

RINGS = ((11.0, 3.95), (27.0, 4.05), (46.0, 4.05))
"""Elevation in degrees and distance from `TARGET`."""
TARGET = (0.0, 0.0, 0.13)
FIELD_OF_VIEW = 42.0
"""Degrees, across."""


def cameras(count: int = 60, width: int = 400, height: int = 300) -> tuple[Camera, ...]:
    """Views from three rings, low to high, all towards the same point; z is up in the world."""
    focal = 0.5 * width / np.tan(np.radians(FIELD_OF_VIEW) / 2)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    found = []
    for index in range(count):
        ring = index * len(RINGS) // count
        first, after = -(-ring * count // len(RINGS)), -(-(ring + 1) * count // len(RINGS))
        share = (index - first + ring / len(RINGS)) / (after - first)
        pose = _pose(2 * np.pi * share, np.radians(RINGS[ring][0]), RINGS[ring][1])
        found.append(Camera(torch.from_numpy(pose).float(), K.float(), width, height, index=index))
    return tuple(found)


def _pose(heading: float, elevation: float, distance: float) -> np.ndarray:
    """World to camera of an eye that looks at `TARGET`, its picture upright."""
    away = np.array(
        [
            np.cos(elevation) * np.cos(heading),
            np.cos(elevation) * np.sin(heading),
            np.sin(elevation),
        ]
    )
    forward = -away
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = [right, np.cross(forward, right), forward]
    pose[:3, 3] = -pose[:3, :3] @ (np.array(TARGET) + distance * away)
    return pose
