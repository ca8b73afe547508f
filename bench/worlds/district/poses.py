"""Where the photos are taken from: a drone that flies lines over the district, and its streets."""

from __future__ import annotations

import numpy as np

from splat.datasets.tracer.cameras import looking, standing, towards
from splat.types import Camera
from worlds.district.layout import BLOCK, STREET, District

FIELD_OF_VIEW = 68.0
"""Degrees, across."""
TILTS = ((180, 42), (270, 48), (0, 0), (0, 42), (90, 48))
"""Headings and angles off straight down, in degrees, in turn. Their number has no factor in common
with the 8 by which readers hold photos out, so that those are of all kinds."""
EYES = 4.0
"""Height of a camera in the street, on the roof of a van, metres."""
INWARDS = 0.88
"""Photos aim at so much of the district along each side: the meadows about it matter less."""
OVERLAP = 3.6
"""Height of a flight over the distance of its photos: neighbours share three quarters and more."""
LOWEST, HIGHEST = 34.0, 110.0
"""Of a flight, metres."""


def cameras(
    district: District, count: int = 300, width: int = 640, height: int = 480, street: float = 0.2
) -> list[Camera]:
    """Views in the order they are taken, first from the air, then, a share `street`, from streets.

    What the drone aims at lies on a grid over the district; it flies the higher the fewer its
    photos are, so that they always overlap by about three quarters.
    """
    if count < 1 or width < 1 or height < 1 or not 0 <= street <= 1:
        raise ValueError(
            f"count, width, height and street are {count}, {width}, {height} and {street}; "
            "expected at least 1, 1 and 1, and a share from 0 to 1"
        )
    low = round(count * street)
    poses = [*_flown(district, count - low), *_driven(district, low)]
    return standing(poses, width, height, FIELD_OF_VIEW)


def _flown(district: District, count: int) -> list[np.ndarray]:
    if not count:
        return []
    x, y = district.half
    columns = max(round((count * x / y) ** 0.5), 1)
    rows = -(-count // columns)
    height = float(np.clip(OVERLAP * (4 * x * y / count) ** 0.5, LOWEST, HIGHEST))
    found = []
    for index in range(count):
        row, column = divmod(index, columns)
        # Lines are flown there and back; the last one may have fewer photos, as wide apart.
        wide = columns if row < rows - 1 else count - columns * (rows - 1)
        column = column if row % 2 == 0 else wide - 1 - column
        a, b = (column + 0.5) / wide * 2 - 1, (row + 0.5) / rows * 2 - 1
        aim = np.array([a * x * INWARDS, b * y * INWARDS, 3.0])
        heading, tilt = TILTS[index % len(TILTS)]
        turn, down = np.radians(heading), np.radians(tilt)
        forward = np.array(
            [np.sin(down) * np.cos(turn), np.sin(down) * np.sin(turn), -np.cos(down)]
        )
        up = np.array([np.cos(turn), np.sin(turn), 0.0])
        found.append(looking(aim - forward * height / np.cos(down) * 0.92, forward, up))
    return found


def _driven(district: District, count: int) -> list[np.ndarray]:
    """Evenly along the streets between blocks, looking ahead and to alternate sides."""
    (x, y), found = district.half, []
    across, down = (_between_blocks(count) for count in (district.across, district.down))
    streets = [
        *((k * (BLOCK[0] + STREET) + STREET / 2 - x, y, True) for k in across),
        *((k * (BLOCK[1] + STREET) + STREET / 2 - y, x, False) for k in down),
    ]
    lengths = np.array([2 * half for _, half, _ in streets])
    ends = np.cumsum(lengths)
    for index in range(count):
        way = (index + 0.5) / count * ends[-1]
        number = int(np.searchsorted(ends, way))
        off, half, north = streets[number]
        along = (way - (ends[number] - lengths[number])) - half
        side = 0.9 if index % 2 else -0.9
        eye = [off + side, along, EYES] if north else [along, off + side, EYES]
        # There along one side and a little to the other, so that a photo shows what the last did.
        turn = np.radians((90 if north else 0) + (18 if index % 2 else -18))
        nod = np.radians(-11 + 2 * (index % 3))
        found.append(looking(np.array(eye), towards(turn, nod)))
    return found


def _between_blocks(count: int) -> range:
    """Streets with houses on both sides; the outer ones where there are no others."""
    return range(1, count) if count > 1 else range(2)
