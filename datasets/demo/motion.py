"""The still life in motion: what rolls, hops, turns, is lifted and appears, in the time 0 to 1."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from splat.datasets.demo.shapes import SOLIDS, Solid
from splat.datasets.tracer.solids import Axes
from splat.datasets.tracer.vectors import Array, Numbers, Triple, occurring

APPEARS = 0.45
"""When the cone is there at once."""
AWAY = (0.0, 0.0, -50.0)
"""Where it is before: under the floor, which hides it and takes no shadow of it."""
ROLLS = 0.8
"""Way of the sphere around the middle and back, radians."""
OUTER = 1.17
"""Distance to the middle at which the bead hops around."""
STEP = 1e-3
"""Half of the time between the two places that a velocity is told from."""

Matrix = npt.NDArray[np.float64]


def at(time: float) -> tuple[Solid, ...]:
    """The solids at a time, 0 to 1, in the order of `SOLIDS`: numbers of objects stay.

    The sphere rolls around the vase and back, the bead hops once around the plinth, the egg turns,
    box and ring are lifted, and the cone appears; vase and plinth stand still.
    """
    return tuple(_moved(solid, time) for solid in SOLIDS)


def velocities(number: Numbers, point: npt.NDArray[np.float64], time: float) -> Array:
    """Velocities [n, 3], world units per clip, of points [n, 3] on the objects of these numbers.

    That of what appears is 0 as long as it is away.
    """
    before, after = at(time - STEP), at(time + STEP)
    found = np.zeros_like(point)
    now = at(time)
    for own, mine in occurring(number):
        solid = now[own - 1] if own else None
        if solid is not None and solid.position != AWAY:
            ends = [each[own - 1] for each in (before, after)]
            if any(end.position == AWAY for end in ends):  # it did not come from there
                continue
            local = (point[mine] - solid.position) @ _axes(solid).T
            first, last = (local @ _axes(end) + end.position for end in ends)
            found[mine] = (last - first) / (2 * STEP)
    return found


def _moved(solid: Solid, time: float) -> Solid:
    x, y, z = solid.position
    if solid.name == "sphere":
        turn = -ROLLS * math.sin(math.pi * time)
        far = math.hypot(x, y) + 0.15
        start = math.atan2(y, x)
        rolled = _about((math.cos(start), math.sin(start), 0.0), -far * turn / solid.half[0])
        place = (far * math.cos(start + turn), far * math.sin(start + turn), z)
        return _turned(replace(solid, position=place), _about((0, 0, 1), turn) @ rolled)
    if solid.name == "bead":
        turn = math.atan2(y, x) - 2 * math.pi * time
        height = z + 0.55 * abs(math.sin(3 * math.pi * time))
        place = (OUTER * math.cos(turn), OUTER * math.sin(turn), height)
        return _turned(replace(solid, position=place), _about((0, 0, 1), -4 * math.pi * time))
    if solid.name == "egg":
        return _turned(solid, _about((0, 0, 1), 3 * time))
    if solid.name in ("box", "ring"):
        share = time * time * (3 - 2 * time)
        return replace(solid, position=(x - 0.05 * share, y - 0.12 * share, z + 0.35 * share))
    if solid.name == "cone" and time < APPEARS:
        return replace(solid, position=AWAY)
    return solid


def _turned(solid: Solid, rotation: Matrix) -> Solid:
    rows = [tuple(float(v) for v in rotation @ row) for row in _axes(solid)]
    axes: Axes = (_triple(rows[0]), _triple(rows[1]), _triple(rows[2]))
    return replace(solid, axes=axes)


def _axes(solid: Solid) -> Matrix:
    """Its own axes in the world, one a row."""
    return np.eye(3) if solid.axes is None else np.array(solid.axes)


def _triple(row: tuple[float, ...]) -> Triple:
    x, y, z = row
    return x, y, z


def _about(axis: Triple, angle: float) -> Matrix:
    """The rotation by an angle about a unit axis (Rodrigues)."""
    x, y, z = axis
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: Matrix = np.eye(3) + math.sin(angle) * across + (1 - math.cos(angle)) * across @ across
    return turn
