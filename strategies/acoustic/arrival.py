"""When sound arrives at a listener's ears, and a sound read at times between its samples.

The delay at an ear is that of a rigid ball with the ears at its sides (Woodworth 1938): along a
straight line to an ear that the source sees, around the ball to one that it does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from splat.strategies.acoustic.sounds.types import Ears, Source

Array = NDArray[np.float64]

SPEED = 343.0
"""Of sound, metres a second."""
RADIUS = 0.0875
"""Of a head, metres."""
REACH = 16
"""Samples on each side that count where a sound is read between its samples."""


def arrival(heads: Sequence[Ears], source: Source, metres: float) -> Float[Tensor, "n 2"]:
    """Seconds from the source to each ear, left first, in the open; float64.

    `metres` is what one unit of the positions is.
    """
    places = np.array([head.position for head in heads], np.float64)
    noses = np.array([head.facing for head in heads], np.float64)
    tops = np.array([head.up for head in heads], np.float64)
    way = np.array(source.position, np.float64) - places
    apart: Array = np.linalg.norm(way, axis=1)
    # The left ear is as far ahead as the sound comes from the left; in the source's place, not.
    side = (np.cross(tops, noses) * way).sum(1) / np.maximum(apart, 1e-9)
    ears = np.stack([_around(side), _around(-side)], 1)
    return torch.from_numpy((metres * apart[:, None] + RADIUS * ears) / SPEED)


def _around(cosine: Array) -> Array:
    """How much farther than the middle of a ball of radius 1 a place on it is, by the cosine of
    the angle at the middle between that place and where the sound comes from."""
    return np.where(cosine > 0, -cosine, np.arccos(cosine.clip(-1, 1)) - np.pi / 2)


def between(sound: Float[Tensor, "2 samples"], at: Float[Tensor, "2 n"]) -> Float[Tensor, "2 n"]:
    """A sound at times counted in its samples, each channel at its own; exact at whole numbers.

    It is interpolated by a sinc under Hann's window, 32 samples long. `at` keeps `REACH` samples
    away from both ends.
    """
    whole = at.floor()
    part = (at - whole).to(sound.dtype)
    first = whole.long()
    # sin(pi (part - j)) is that of part, with a sign; at whole numbers it must be nothing.
    wave = torch.sin(torch.pi * part) / torch.pi
    found = torch.gather(sound, 1, first) * (part == 0)
    for j in range(1 - REACH, REACH + 1):
        away = part - j
        kernel = (-1) ** j * wave / torch.where(away == 0, 1, away)
        kernel = kernel * torch.cos(torch.pi / (2 * REACH) * away).square()
        found += torch.gather(sound, 1, first + j) * kernel
    return found
