"""Three rooms with upright walls over a polygon: metres, z up, the floor at z = 0.

- `shoebox`: plaster all round but for one short wall, behind a curtain; a floor of boards.
- `ell`: two arms; the one along x is lined with absorbers on carpet, the other of bare brick.
- `hall`: long and narrow, a partition reaches in from one side; carpet, absorbers on one end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from worlds.rooms.materials import MATERIALS, Material

Place = tuple[float, float, float]
Plan = tuple[tuple[float, float], ...]
"""Corners on the floor, counter-clockwise from above."""


def inside(outline: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points of a plane are inside a polygon [k, 2]: even and odd crossings."""
    found = np.zeros(len(x), bool)
    for (a, b), (a2, b2) in zip(outline, np.roll(outline, -1, 0), strict=True):
        if b == b2:
            continue
        over = (b > y) != (b2 > y)
        found ^= over & (x < a + (y - b) * ((a2 - a) / (b2 - b)))
    return found


@dataclass(frozen=True)
class Surface:
    """One flat piece of a room."""

    name: str
    material: Material
    corners: np.ndarray
    """[n, 3], in order; from inside the room, counter-clockwise."""

    @property
    def area(self) -> float:
        """Square metres."""
        a = self.corners - self.corners[0]
        return float(np.linalg.norm(np.cross(a[1:-1], a[2:]).sum(0)) / 2)


@dataclass(frozen=True)
class Room:
    """A polygon with a wall on every side, and a floor and a ceiling in one or more parts."""

    name: str
    corners: Plan
    walls: tuple[Material, ...]
    """Of each side: from its corner to the next."""
    floor: tuple[tuple[Plan, Material], ...]
    """Parts that cover the plan between them."""
    ceiling: tuple[tuple[Plan, Material], ...]
    height: float
    sources: tuple[Place, ...]
    """Where the first ones stand; further ones are drawn."""

    @property
    def plan(self) -> np.ndarray:
        """The corners, [n, 2]."""
        return np.array(self.corners, np.float64)

    @property
    def volume(self) -> float:
        """Cubic metres."""
        x, y = self.plan.T
        return float(abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2 * self.height)

    @property
    def surfaces(self) -> tuple[Surface, ...]:
        """Walls by their number, then the parts of floor and ceiling."""
        flat, up = np.pad(self.plan, ((0, 0), (0, 1))), np.array([0.0, 0.0, self.height])
        found = []
        for i, material in enumerate(self.walls):
            a, b = flat[i], flat[(i + 1) % len(flat)]
            found.append(Surface(f"wall {i}", material, np.array([b, a, a + up, b + up])))
        for i, (plan, material) in enumerate(self.floor):
            found.append(Surface(f"floor {i}", material, np.pad(plan, ((0, 0), (0, 1)))))
        for i, (plan, material) in enumerate(self.ceiling):
            part = np.pad(np.array(plan, np.float64), ((0, 0), (0, 1))) + up
            found.append(Surface(f"ceiling {i}", material, part[::-1]))
        return tuple(found)

    def clearance(self, places: np.ndarray) -> np.ndarray:
        """Metres from each place [n, 2 or 3] to the nearest wall; negative outside the plan."""
        p, a = places[:, None, :2], self.plan[None]
        side = np.roll(a, -1, 1) - a
        share = ((p - a) * side).sum(-1) / (side**2).sum(-1)
        foot = a + np.clip(share, 0, 1)[..., None] * side
        far = np.sqrt(((p - foot) ** 2).sum(-1)).min(1)
        return np.asarray(np.where(inside(self.plan, *places[:, :2].T), far, -far))

    def mirrored(self) -> Room:
        """The room as a mirror at x = 0 shows it."""
        corners = _mirrored(self.corners)
        floor, ceiling = (
            tuple((_mirrored(plan), material) for plan, material in parts)
            for parts in (self.floor, self.ceiling)
        )
        # Side i runs from corner i to the next: reversed, the last but one comes first.
        walls = (*self.walls[-2::-1], self.walls[-1])
        sources = tuple((-x, y, z) for x, y, z in self.sources)
        return replace(
            self, corners=corners, walls=walls, floor=floor, ceiling=ceiling, sources=sources
        )


def _mirrored(plan: Plan) -> Plan:
    return tuple((-x, y) for x, y in reversed(plan))


def _oblong(x: float, y: float, x2: float, y2: float) -> Plan:
    return (x, y), (x2, y), (x2, y2), (x, y2)


def box(size: Place, walls: tuple[Material, ...], floor: Material, ceiling: Material) -> Room:
    """A room of four walls from the origin on: along y = 0, x = size, y = size and x = 0."""
    x, y, z = size
    plan = _oblong(0.0, 0.0, x, y)
    source = (0.3 * x, 0.35 * y, 0.5 * z)
    return Room("box", plan, walls, ((plan, floor),), ((plan, ceiling),), z, (source,))


def _rooms() -> tuple[Room, ...]:
    plaster, brick, boards, carpet, curtain, absorber = (
        MATERIALS[n] for n in ("plaster", "brick", "boards", "carpet", "curtain", "absorber")
    )
    shoebox = replace(
        box((6.2, 4.4, 2.8), (plaster, plaster, curtain, plaster), boards, plaster),
        name="shoebox",
        sources=((1.6, 1.5, 1.5),),
    )
    ell = Room(
        "ell",
        ((0, 0), (3.2, 0), (7.4, 0), (7.4, 3), (3.2, 3), (3.2, 7), (0, 7)),
        (brick, absorber, absorber, absorber, brick, brick, brick),
        ((_oblong(0, 0, 3.2, 7), boards), (_oblong(3.2, 0, 7.4, 3), carpet)),
        ((_oblong(0, 0, 3.2, 7), plaster), (_oblong(3.2, 0, 7.4, 3), absorber)),
        2.8,
        ((5.4, 1.4, 1.5),),
    )
    along = ((0, 0), (6.4, 0), (6.4, 1.9), (6.6, 1.9), (6.6, 0), (11, 0), (11, 3.6), (0, 3.6))
    hall = Room(
        "hall",
        along,
        (plaster, plaster, plaster, plaster, plaster, absorber, plaster, brick),
        ((along, carpet),),
        ((along, plaster),),
        2.9,
        ((2.2, 1.7, 1.5),),
    )
    return shoebox, ell, hall


ROOMS = {room.name: room for room in _rooms()}
"""By name."""
