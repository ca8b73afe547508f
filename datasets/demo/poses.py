"""Where the photographer stands: three rings around the still life."""

from __future__ import annotations

import numpy as np

from splat.datasets.tracer.cameras import looking, standing, towards
from splat.types import Camera

RINGS = ((11.0, 3.95), (27.0, 4.05), (46.0, 4.05))
"""Elevation in degrees and distance from `TARGET`."""
TARGET = (0.0, 0.0, 0.13)
FIELD_OF_VIEW = 42.0
"""Degrees, across."""


def cameras(count: int = 60, width: int = 400, height: int = 300) -> tuple[Camera, ...]:
    """Views from three rings, low to high, all towards the same point; z is up in the world."""
    poses = []
    for index in range(count):
        ring = index * len(RINGS) // count
        first, after = -(-ring * count // len(RINGS)), -(-(ring + 1) * count // len(RINGS))
        share = (index - first + ring / len(RINGS)) / (after - first)
        elevation, distance = RINGS[ring]
        away = towards(2 * np.pi * share, np.radians(elevation))
        poses.append(looking(np.array(TARGET) + distance * away, -away))
    return tuple(standing(poses, width, height, FIELD_OF_VIEW))
