"""How the values of Gaussians lie in an `.spz`, and along which axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

REACH = (1 << 23) - 1
"""Largest magnitude of a position as a whole number, before the point is set."""
WIDEST = 255 / 16 - 10
"""Largest logarithm of a scale."""
COLOR = 0.15
"""Factor on the constant SH coefficient, so that 8 bits hold -3.33 to 3.33."""
ODD = ("y", "z", "x", "xy", "yz", "", "xz", "", "y", "xyz", "y", "z", "x", "z", "x")
"""Axes along which each harmonic, after the constant one, changes its sign when they are turned."""

Signs = tuple[int, int, int]
"""1 or -1 for each axis."""
AXES: dict[str, Signs] = {"ply": (1, 1, 1), "rub": (1, -1, -1), "gltf": (-1, -1, 1)}
"""Which axes point the other way than those of a .ply, by the names of settings."""


@dataclass(frozen=True)
class Layout:
    """Version, degree and fractional bits, which determine the bytes of a Gaussian."""

    version: int
    """Version of the format, 1 to 4."""
    degree: int
    """Bands of harmonics, 0 to 4."""
    point: int
    """Fractional bits of positions."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes of a Gaussian in each stream; the last is 0 without harmonics."""
        rotation = 3 if self.version < 3 else 4
        return 6 if self.version == 1 else 9, 1, 3, 3, rotation, 3 * ((self.degree + 1) ** 2 - 1)


def signs_of_harmonics(signs: Signs, k: int) -> list[int]:
    """1 or -1 for each of `k` harmonics where axes are turned so."""
    sign = dict(zip("xyz", signs, strict=True))
    return [1, *(math.prod(sign[axis] for axis in axes) for axes in ODD)][:k]
