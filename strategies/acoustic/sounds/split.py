"""Which places are held out: positions, never merely samples of a position that is trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splat.strategies.acoustic.sounds.types import Heard, Triple

EVERY = 5
"""One position in so many is held out."""
SAME = 1e-3
"""Positions nearer than this are one place, units of the scene."""


def held_out(sounds: Sequence[Heard], every: int = EVERY) -> tuple[list[Heard], list[Heard]]:
    """Training and held-out sounds: one place in `every`, with all that is heard there.

    Places are numbered as they first appear; the first is held out.
    """
    order: dict[Triple, int] = {}
    for sound in sounds:
        order.setdefault(_place(sound), len(order))
    train = [sound for sound in sounds if order[_place(sound)] % every]
    return train, [sound for sound in sounds if not order[_place(sound)] % every]


def shared(train: Sequence[Heard], test: Sequence[Heard]) -> int:
    """How many held-out sounds are heard where a training one is."""
    places = {_place(sound) for sound in train}
    return sum(_place(sound) in places for sound in test)


def apart(train: Sequence[Heard], test: Sequence[Heard]) -> float:
    """The least distance between a held-out and a training position; infinite without either."""
    if not train or not test:
        return float("inf")
    a, b = (np.array([s.ears.position for s in part]) for part in (train, test))
    return float(np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).min())


def _place(sound: Heard) -> Triple:
    x, y, z = (round(value / SAME) * SAME for value in sound.ears.position)
    return x, y, z
