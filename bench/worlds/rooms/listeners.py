"""Where listeners and sources stand in a room."""

from __future__ import annotations

import numpy as np

from splat.strategies.acoustic.sounds.split import EVERY
from splat.strategies.acoustic.sounds.types import Ears
from worlds.rooms.shapes import Place, Room

WALLS = 0.5
"""Metres to the nearest wall, at least; of sources, twice as many."""
SOURCE = 1.0
"""Metres to the nearest source, at least."""
HELD_OUT = 0.3
"""Metres from a held-out place to one that is trained on, at least."""
HEIGHTS = (1.2, 1.8)
TRIES = 1000
"""Draws in a row that found no place before the room is said to be full."""


def sources(room: Room, count: int, seed: int) -> list[Place]:
    """The room's own first, then ones drawn at least 1.5 m from the others."""
    generator = np.random.default_rng([seed, 1])
    found = list(room.sources[:count])
    while len(found) < count:
        for _ in range(TRIES):
            place = _drawn(room, generator)
            others = np.array(found)
            clear = room.clearance(place[None])[0] >= 2 * WALLS
            if clear and np.linalg.norm(others - place, axis=1).min() >= 1.5 * SOURCE:
                found.append((float(place[0]), float(place[1]), float(place[2])))
                break
        else:
            raise ValueError(
                f"the room {room.name} has no place for source {len(found) + 1} of {count}; "
                "expected fewer: give a smaller number of sources"
            )
    return found


def listeners(
    room: Room, played: list[Place], count: int, seed: int
) -> tuple[list[Ears], list[bool]]:
    """Ears, and whether each is held out: the first of every five, apart from all trained on.

    They stand at random places, clear of walls and sources, and face anywhere, level.
    """
    generator = np.random.default_rng([seed, 2])
    kept: dict[bool, list[np.ndarray]] = {True: [], False: []}
    found: list[Ears] = []
    test: list[bool] = []
    tries = 0
    while len(found) < count:
        place, turn = _drawn(room, generator), generator.uniform(0, 2 * np.pi)
        out = len(found) % EVERY == 0
        others = np.array(kept[not out]).reshape(-1, 3)
        clear = room.clearance(place[None])[0] >= WALLS
        clear &= np.linalg.norm(np.array(played) - place, axis=1).min() >= SOURCE
        clear &= not len(others) or np.linalg.norm(others - place, axis=1).min() >= HELD_OUT
        tries = 0 if clear else tries + 1
        if tries > TRIES:
            raise ValueError(
                f"the room {room.name} has room for {len(found)} listeners of {count}; expected "
                "fewer: give a smaller number of listeners"
            )
        if clear:
            x, y, z = (round(float(v), 4) for v in place)
            facing = (round(float(np.cos(turn)), 6), round(float(np.sin(turn)), 6), 0.0)
            found.append(Ears((x, y, z), facing))
            test.append(out)
            kept[out].append(place)
    return found, test


def _drawn(room: Room, generator: np.random.Generator) -> np.ndarray:
    low, high = room.plan.min(0), room.plan.max(0)
    return np.array([*generator.uniform(low, high), generator.uniform(*HEIGHTS)])
