"""Where the photographer stands: on the spot, turning round, or on a walk through the room."""

from __future__ import annotations

import numpy as np

from splat.datasets.tracer.cameras import looking, standing, towards
from splat.types import Camera

FIELD_OF_VIEW = 75.0
"""Degrees, across."""
EYES = 1.5
"""Height, metres."""


def cameras(
    count: int = 40, width: int = 640, height: int = 480, kind: str = "sweep"
) -> list[Camera]:
    """Views in the order they are taken; z is up in the world, pictures are upright.

    `sweep` turns twice on the spot, the camera held out 20 to 30 cm from the middle of the room at
    1.5 m, up and down by 35 degrees: much is seen, from nearly one place. `walk` goes round the
    room and looks across it: a baseline of metres.
    """
    if kind not in ("sweep", "walk"):
        raise ValueError(f"kind is {kind!r}; expected 'sweep' or 'walk'")
    if count < 1 or width < 1 or height < 1:
        raise ValueError(
            f"count, width and height are {count}, {width} and {height}; expected at least 1 each"
        )
    pose = _sweep if kind == "sweep" else _walk
    return standing((pose(index / count) for index in range(count)), width, height, FIELD_OF_VIEW)


def _sweep(share: float) -> np.ndarray:
    """Two turns; four and a half nods, so that the second turn looks where the first did not."""
    turn = 4 * np.pi * share
    nod = 2 * np.pi * 4.5 * share
    reach = 0.25 + 0.05 * np.sin(7 * turn / 3 + 1)
    eye = (
        reach * np.cos(turn + 0.2 * np.sin(3 * turn)),
        reach * np.sin(turn + 0.2 * np.sin(3 * turn)),
        EYES + 0.04 * np.sin(2.3 * turn),
    )
    return looking(np.array(eye), towards(turn, np.radians(35 * np.sin(nod))))


def _walk(share: float) -> np.ndarray:
    """Once round the room at arm's length from the furniture, looking to the far side."""
    turn = 2 * np.pi * share
    eye = np.array(
        [1.0 * np.cos(turn) - 0.1, 0.75 * np.sin(turn) - 0.1, EYES + 0.15 * np.sin(5 * turn)]
    )
    heading = turn + np.pi + 0.45 * np.sin(4 * turn + 0.7)
    return looking(eye, towards(heading, np.radians(-9 + 13 * np.sin(3 * turn + 0.5))))
