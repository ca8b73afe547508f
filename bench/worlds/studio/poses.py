"""Where the photographer stands: on a sphere around the object, more above than below."""

from __future__ import annotations

import numpy as np

from splat.datasets.tracer.cameras import looking, standing
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
    held = {int((k + 0.5) * count / tests) for k in range(tests)}
    split: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for index in range(count):
        up = LOWEST + (HIGHEST - LOWEST) * (index + 0.5) / count
        out, turn = (1 - up * up) ** 0.5, index * GOLDEN
        away = np.array([out * np.cos(turn), out * np.sin(turn), up])
        pose = looking(np.zeros(3), -away)
        pose[:3, 3] = 0.0, 0.0, DISTANCE
        split[index in held].append(pose)
    train, test = (tuple(standing(poses, size, size, FIELD_OF_VIEW)) for poses in split)
    return train, test
