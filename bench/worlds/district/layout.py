"""Where everything stands: blocks of houses between streets, gardens, trees, parked cars."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from splat.datasets.tracer.colours import linear
from splat.datasets.tracer.vectors import Triple
from worlds.district.pieces import Pair, Piece, Pieces, Stuff, packed

BLOCK = (44.0, 34.0)
"""Width and depth of a block of houses with its pavements, metres,"""
STREET = 9.0
"""and of the streets about it."""
KERB = 0.14
PAVEMENT = 2.4
STOREY = 2.9
KINDS = ("houses", "houses", "houses", "terrace", "houses", "flats", "terrace", "park")
WALLS = ("efe6d6", "e8d9b5", "d9b98a", "b5674a", "c9d2d6", "c3ccb2", "d99f86", "f4f1ea", "a9563f")
ROOFS = ("b4553a", "a34a35", "4a5058", "7d4a3c", "6b6d6c", "c06a48", "5b4038")
CARS = ("e9ebec", "b6babd", "26282b", "a5272b", "2c4f8a", "5c6d52", "d8a438")
GREENS = ("5d7f3a", "6f8f45", "4d6f35", "7d9650", "86903f")
FRAME, TRUNK, STONE = linear("f2f0ea"), linear("6a5644"), linear("b9b4aa")


@dataclass(frozen=True)
class District:
    """How many blocks of houses there are along x and y, and the seed of all that is chance."""

    across: int = 6
    down: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.across <= 64 and 1 <= self.down <= 64):
            raise ValueError(f"blocks is {self.across}x{self.down}; expected from 1x1 to 64x64")

    @property
    def half(self) -> Pair:
        """Half the extent along x and y, the outer streets included, metres."""
        (a, b), s = BLOCK, STREET
        return (self.across * (a + s) + s) / 2, (self.down * (b + s) + s) / 2

    def corner(self, i: int, j: int) -> Pair:
        """The lower corner of a block's pavement."""
        x, y = self.half
        return (STREET - x + i * (BLOCK[0] + STREET), STREET - y + j * (BLOCK[1] + STREET))


@lru_cache(maxsize=2)
def pieces(district: District) -> Pieces:
    """Everything but the ground."""
    made: list[Piece] = []
    for j in range(district.down):
        for i in range(district.across):
            # Each block draws from a stream of its own: more blocks do not change the others.
            chance = np.random.default_rng([district.seed, i, j])
            _Plot(made, chance, district.corner(i, j)).build()
    return packed(made)


class _Plot:
    """One block of houses while it is built."""

    def __init__(self, made: list[Piece], chance: np.random.Generator, corner: Pair) -> None:
        self.made, self.chance, (self.x, self.y) = made, chance, corner

    def build(self) -> None:
        kind = KINDS[self.chance.integers(len(KINDS))]
        (wide, deep), top = BLOCK, Stuff.PARK if kind == "park" else Stuff.YARD
        low, high = (self.x, self.y, 0.0), (self.x + wide, self.y + deep, KERB)
        self._add(low, high, (Stuff.KERB, Stuff.KERB), top, STONE)
        getattr(self, f"_{kind}")()
        self._street_trees()
        self._cars()

    def _houses(self) -> None:
        count = int(self.chance.integers(2, 5))
        lot = (BLOCK[0] - 2 * PAVEMENT) / count
        for row in range(2):
            for k in range(count):
                left = self.x + PAVEMENT + k * lot
                wide = min(lot - self._between(2.4, 4.5), 13)
                deep = self._between(7, 9)
                x0 = left + (lot - wide) * self._between(0.3, 0.7)
                gap = PAVEMENT + self._between(1.2, 2.8)
                y0 = self.y + gap if row == 0 else self.y + BLOCK[1] - gap - deep
                self._house(x0, y0, wide, deep, int(self.chance.integers(1, 4)))
                self._garden(left, lot, row)

    def _terrace(self) -> None:
        """A row of houses wall to wall on each long side."""
        for row in range(2):
            x, end, deep = self.x + PAVEMENT + 0.6, self.x + BLOCK[0] - PAVEMENT - 0.6, 9.0
            y = self.y + PAVEMENT + 0.4 if row == 0 else self.y + BLOCK[1] - PAVEMENT - 0.4 - deep
            while end - x > 5:
                wide = min(self._between(5.5, 8), end - x)
                wide = end - x if end - x - wide < 5 else wide
                self._house(x, y, wide, deep, int(self.chance.integers(2, 5)), attached=True)
                self._garden(x, wide, row)
                x += wide

    def _flats(self) -> None:
        """Two slabs with flat roofs and what stands on those."""
        for row in range(2):
            high, deep = STOREY * int(self.chance.integers(3, 6)) + 0.9, self._between(9, 10.5)
            x0, x1 = self.x + self._between(4, 8), self.x + BLOCK[0] - self._between(4, 8)
            y0 = self.y + 4.5 if row == 0 else self.y + BLOCK[1] - 4.5 - deep
            wall, trim = self._pick(WALLS), FRAME
            low = (x0, y0, KERB)
            self._add(low, (x1, y0 + deep, high), (Stuff.WALL, Stuff.WALL), Stuff.FLAT_ROOF, wall,
                      trim)  # fmt: skip
            for x in np.linspace(x0 + 4, x1 - 5, 3):
                size = self._between(1.6, 3), self._between(1.6, 3), self._between(1, 2.4)
                a, b = float(x), y0 + deep * self._between(0.3, 0.5)
                top = (a + size[0], b + size[1], high + size[2])
                plain = (Stuff.PLAIN, Stuff.PLAIN)
                self._add((a, b, high), top, plain, Stuff.FLAT_ROOF, linear("c9c7c1"))
        for x in np.linspace(self.x + 8, self.x + BLOCK[0] - 8, 5):
            self._tree(float(x), self.y + BLOCK[1] / 2 + self._between(-1, 1), 1.0)

    def _park(self) -> None:
        for _ in range(16):
            x = self.x + self._between(4, BLOCK[0] - 4)
            y = self.y + self._between(4, BLOCK[1] - 4)
            # The paths of a park cross in its middle.
            if min(abs(x - self.x - BLOCK[0] / 2), abs(y - self.y - BLOCK[1] / 2)) > 3:
                self._tree(x, y, self._between(0.9, 1.5))

    def _house(
        self, x: float, y: float, wide: float, deep: float, storeys: int, attached: bool = False
    ) -> None:
        wall, roof = self._pick(WALLS), self._pick(ROOFS)
        side = Stuff.WALL if self.chance.random() < 0.75 else Stuff.BRICK
        eaves = KERB + 0.4 + STOREY * storeys
        self._add((x, y, KERB), (x + wide, y + deep, eaves), (side, side), Stuff.FLAT_ROOF, wall,
                  FRAME)  # fmt: skip
        over, shape = 0.45, self.chance.random()
        ends = 0.0 if attached else over
        rise = self._between(0.55, 0.85) * deep / 2
        inset, gable = (0.0, deep / 2 + over), (side, Stuff.TILES)
        if not attached and shape < 0.35 and wide > deep:
            inset, gable = (deep / 2 + over, deep / 2 + over), (Stuff.TILES, Stuff.TILES)
        elif not attached and shape < 0.6:
            rise, inset = self._between(0.55, 0.8) * wide / 2, (wide / 2 + over, 0.0)
            gable = (Stuff.TILES, side)
        elif shape > 0.93:
            self._add((x - 0.1, y - 0.1, eaves), (x + wide + 0.1, y + deep + 0.1, eaves + 0.35),
                      (Stuff.PLAIN, Stuff.PLAIN), Stuff.FLAT_ROOF, STONE)  # fmt: skip
            return
        low, high = (x - ends, y - over, eaves), (x + wide + ends, y + deep + over, eaves + rise)
        plain = tuple(Stuff.PLAIN if s == side else s for s in gable)
        self._add(low, high, (plain[0], plain[1]), Stuff.TILES, roof, wall, inset)
        a, b = x + wide * self._between(0.2, 0.7), y + deep * self._between(0.3, 0.42)
        self._add((a, b, eaves), (a + 0.7, b + 0.9, eaves + rise + self._between(0.2, 0.8)),
                  (Stuff.BRICK, Stuff.BRICK), Stuff.PLAIN, linear("8d4a38"), STONE)  # fmt: skip

    def _garden(self, left: float, lot: float, row: int) -> None:
        """A hedge towards the next lot, a tree or two behind the house."""
        middle, green = self.y + BLOCK[1] / 2, self._pick(GREENS)
        y0, y1 = (middle - 4.2, middle - 0.4) if row == 0 else (middle + 0.4, middle + 4.2)
        low, high = (left - 0.3, y0, KERB), (left + 0.3, y1, KERB + self._between(0.9, 1.6))
        hedge = (Stuff.LEAVES, Stuff.LEAVES)
        self._add(low, high, hedge, Stuff.LEAVES, green, green, (0.12, 0.12))
        for _ in range(int(self.chance.integers(0, 3))):
            self._tree(left + lot * self._between(0.2, 0.8), (y0 + y1) / 2, self._between(0.5, 0.9))

    def _street_trees(self) -> None:
        for y in (self.y + 1.0, self.y + BLOCK[1] - 1.0):
            for x in np.arange(self.x + 5, self.x + BLOCK[0] - 3, 9.5):
                if self.chance.random() < 0.45:
                    self._tree(float(x) + self._between(-1, 1), y, self._between(0.6, 0.95))

    def _tree(self, x: float, y: float, size: float) -> None:
        """A trunk and a crown of a few balls; `size` is 1 for one of eight metres."""
        green, foot, width = self._pick(GREENS), KERB + 2.2 * size, 2.1 * size
        self._add((x - 0.16, y - 0.16, KERB), (x + 0.16, y + 0.16, foot + 2 * size),
                  (Stuff.BARK, Stuff.BARK), Stuff.BARK, TRUNK)  # fmt: skip
        for k in range(4):
            turn, reach = 2.1 * k + self._between(0, 1), (0.0 if k == 0 else 1.0) * size
            a, b = x + reach * np.cos(turn), y + reach * np.sin(turn)
            c = foot + (3.4 if k == 0 else self._between(1.3, 2.6)) * size
            r, h = (width * self._between(0.6, 0.9) for _ in range(2))
            self._add((a - r, b - r, c - h), (a + r, b + r, c + h), (Stuff.LEAVES, Stuff.LEAVES),
                      Stuff.LEAVES, green, green, ball=True)  # fmt: skip

    def _cars(self) -> None:
        """Some at the kerbs of the long sides."""
        for y in (self.y - 1.25, self.y + BLOCK[1] + 1.25):
            for x in np.arange(self.x + 3, self.x + BLOCK[0] - 7, 5.6):
                if self.chance.random() < 0.38:
                    self._car(float(x) + self._between(0, 0.8), y + self._between(-0.1, 0.1))

    def _car(self, x: float, y: float) -> None:
        paint, glass = self._pick(CARS), linear("20262c")
        body = (Stuff.CAR, Stuff.CAR)
        self._add((x, y - 0.85, 0.22), (x + 4.2, y + 0.85, 0.85), body, Stuff.CAR, paint, glass,
                  (0.12, 0.06))  # fmt: skip
        self._add((x + 0.9, y - 0.78, 0.85), (x + 3.7, y + 0.78, 1.45), body, Stuff.CAR, paint,
                  glass, (0.55, 0.14))  # fmt: skip

    def _add(
        self, low: Triple, high: Triple, sides: tuple[Stuff, Stuff], top: Stuff, colour: Triple,
        second: Triple = STONE, inset: Pair = (0.0, 0.0), ball: bool = False,
    ) -> None:  # fmt: skip
        seed = int(self.chance.integers(1 << 15))
        self.made.append(Piece(low, high, sides, top, colour, second, seed, inset, ball))

    def _between(self, low: float, high: float) -> float:
        return float(self.chance.uniform(low, high))

    def _pick(self, colours: tuple[str, ...]) -> Triple:
        """One of them, a little lighter or darker."""
        r, g, b = linear(colours[self.chance.integers(len(colours))])
        by = self._between(0.85, 1.1)
        return min(r * by, 0.95), min(g * by, 0.95), min(b * by, 0.95)
