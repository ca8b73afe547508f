"""The still life as signed distances: solids on a plinth, in a round room that closes the scene.

World frame: z up, top of the plinth at z = 0, units of about a foot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splat.datasets.tracer.solids import (
    Axes,
    Placed,
    across,
    ball,
    block,
    drum,
    leaning,
    ring,
    round_cone,
    smooth_min,
)
from splat.datasets.tracer.vectors import Array, Distance, Triple

PLINTH_RADIUS = 1.32
ROOM_FLOOR = -0.16
ROOM_RADIUS = 5.2
ROOM_COVE = 2.5
"""Width of the blend between the room's floor and its dome."""


@dataclass(frozen=True)
class Solid(Placed):
    """One thing in the scene: an exact or conservative distance in its own frame, and its place."""

    name: str
    distance: Distance
    position: Triple
    half: Triple
    axes: Axes | None = None


def _vase(x: Array, y: Array, z: Array) -> Array:
    axis, z = across(x, y), z + VASE_MIDDLE
    body = round_cone(axis, z - 0.28, 0.32, 0.22, 0.2)
    neck = round_cone(axis, z - 0.6, 0.12, 0.09, 0.4)
    lip = ring(axis, z - 1.03, 0.125, 0.04)
    outside = smooth_min(smooth_min(body, neck, 0.2), lip, 0.08)
    bore = np.maximum(axis - 0.085, 0.8 - z)
    whole: Array = np.maximum(np.maximum(outside, -bore), -z)
    return whole


def _cone(x: Array, y: Array, z: Array) -> Array:
    z = z + CONE_MIDDLE
    whole: Array = np.maximum(round_cone(across(x, y), z, 0.26, 0.04, 0.66), -z)
    return whole


BOX_HALF = (0.25, 0.25, 0.25)
VASE_MIDDLE = 0.535
CONE_MIDDLE = 0.35
SUNK = 0.01
"""What stands flat goes into the plinth by this, or its base would be a surface inside."""
PLINTH = Solid(
    "plinth",
    lambda x, y, z: drum(across(x, y), z, PLINTH_RADIUS, 0.08, 0.03),
    (0.0, 0.0, -0.08),
    (PLINTH_RADIUS, PLINTH_RADIUS, 0.08),
)
THINGS = (
    Solid("vase", _vase, (-0.06, 0.26, VASE_MIDDLE - SUNK), (0.33, 0.33, 0.55)),
    Solid(
        "sphere",
        lambda x, y, z: ball(x, y, z, 0.34),
        (0.6, -0.14, 0.34),
        (0.34, 0.34, 0.34),
        leaning(28, 200),
    ),
    Solid(
        "box",
        lambda x, y, z: block(x, y, z, BOX_HALF, 0.045),
        (-0.52, -0.24, 0.25 - SUNK),
        BOX_HALF,
        leaning(0, 24),
    ),
    # It leans on the box: these numbers make them touch.
    Solid(
        "ring",
        lambda x, y, z: ring(across(x, y), z, 0.25, 0.085),
        (-0.3466, -0.6294, 0.3057),
        (0.335, 0.335, 0.085),
        leaning(62, -66),
    ),
    Solid("cone", _cone, (0.56, 0.6, CONE_MIDDLE - SUNK), (0.26, 0.26, CONE_MIDDLE)),
    Solid(
        "egg",
        lambda x, y, z: round_cone(across(x, y), z + 0.06, 0.18, 0.12, 0.14),
        (-0.84, 0.33, 0.1543),
        (0.18, 0.18, 0.24),
        leaning(115.4, 250),
    ),
    Solid(
        "bead",
        lambda x, y, z: ball(x, y, z, 0.14),
        (0.22, -0.72, 0.14),
        (0.14, 0.14, 0.14),
        leaning(50, 70),
    ),
)
SOLIDS = (PLINTH, *THINGS)
"""All that stands in the room, the plinth first; a scene that moves has them elsewhere
(`splat.datasets.demo.motion`), in the same order."""


def room(x: Array, y: Array, z: Array) -> Array:
    """Distance to the walls: a floor that sweeps up into a dome, positive inside."""
    return smooth_min(z - ROOM_FLOOR, -ball(x, y, z, ROOM_RADIUS), ROOM_COVE)


def scene(x: Array, y: Array, z: Array, solids: Sequence[Solid] = SOLIDS) -> Array:
    """Signed distance to the nearest surface, negative inside solids and beyond the walls."""
    nearest = room(x, y, z)
    for solid in solids:
        nearest = np.minimum(nearest, solid.distance(*solid.local(x, y, z)))
    return nearest
