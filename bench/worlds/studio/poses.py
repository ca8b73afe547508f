"""Where the photographer stands: on a sphere around the object, more above than below."""

from __future__ import annotations

import numpy as np
import torch

from splat.types import Camera

DISTANCE = 3.8
"""Of the eyes from the origin, towards which all look."""
LOWEST, HIGHEST = -0.4, 0.96
"""Sines of the elevations of the first and the last eye."""
FIELD_OF_VIEW = 33.0
"""Degrees, across and down."""
GOLDEN = np.pi * (3 - 5**0.5)
"""Turn from one point of a Fibonacci sphere to the next, radians."""


def cameras(
    views: int = 60, tests: int = 12, size: int = 256
) -> tuple[tuple[Camera, ...], tuple[Camera, ...]]:
    """Cameras to train on and to test with, square pictures; z is up in the world.

    Both are taken from one Fibonacci sphere: the test views stand evenly between the others.
    """
    count = views + tests
    focal = 0.5 * size / np.tan(np.radians(FIELD_OF_VIEW) / 2)
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]).float()
    held = {int((k + 0.5) * count / tests) for k in range(tests)}
    split: tuple[list[Camera], list[Camera]] = ([], [])
    for index in range(count):
        up = LOWEST + (HIGHEST - LOWEST) * (index + 0.5) / count
        out, turn = (1 - up * up) ** 0.5, index * GOLDEN
        pose = _pose(np.array([out * np.cos(turn), out * np.sin(turn), up]))
        part = split[index in held]
        part.append(Camera(torch.from_numpy(pose).float(), K, size, size, index=len(part)))
    return tuple(split[0]), tuple(split[1])


def _pose(away: np.ndarray) -> np.ndarray:
    """World to camera of an eye in the unit direction `away`, its picture upright."""
    right = np.cross(-away, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = [right, np.cross(-away, right), -away]
    pose[:3, 3] = 0.0, 0.0, DISTANCE
    return pose
