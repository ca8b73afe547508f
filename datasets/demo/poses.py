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
        poses.append(_from(2 * np.pi * share, np.radians(elevation), distance))
    return tuple(standing(poses, width, height, FIELD_OF_VIEW))


def orbit(
    count: int, width: int, height: int, turns: float = 2.5, ahead: float = 0.0
) -> tuple[Camera, ...]:
    """Views of one camera that goes around, up and down, `ahead` by a share of a turn."""
    shares = np.arange(count) / max(1, count - 1)
    elevations = np.radians(28 + 16 * np.sin(2 * np.pi * (3.7 * shares + ahead)))
    headings = 2 * np.pi * (turns * shares + ahead)
    poses = [_from(h, e, RINGS[1][1]) for h, e in zip(headings, elevations, strict=True)]
    return tuple(standing(poses, width, height, FIELD_OF_VIEW))


def _from(heading: float, elevation: float, distance: float) -> np.ndarray:
    away = towards(heading, elevation)
    return looking(np.array(TARGET) + distance * away, -away)
