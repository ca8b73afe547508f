"""What the objects are made of: base colour, roughness and metallic at every place.

The usual workflow of renderers: the base colour (linear) is the albedo of what is not metal and
the reflectance at normal incidence of what is; roughness is the square root of the width `alpha`
of a GGX distribution of normals (Walter et al. 2007; Burley 2012).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from splat.datasets.tracer.colours import blended, edge, mixed
from splat.datasets.tracer.solids import across, ball
from splat.datasets.tracer.vectors import Array, Vector
from worlds.studio.shapes import PLATES


@dataclass(frozen=True)
class Finish:
    """What a surface is made of at n points."""

    albedo: Vector
    """Base colour, linear, in [0, 1]."""
    roughness: Array
    metallic: Array
    """0 for what is painted, 1 for metal."""


def _plain(like: Array, colour: str) -> Vector:
    return mixed(np.zeros_like(like), colour, colour)


def _foil(x: Array, y: Array, z: Array) -> Finish:
    """Polished: silver, with gold on ears, feet, arms and tail."""
    paws = edge(x - 0.3 + 0.25 * edge(-z - 0.6, 0.05), 0.06) * edge(-z - 0.02, 0.06)
    tail = edge(-x - 0.45 - 0.1 * z, 0.03)
    share = np.maximum(np.maximum(edge(z - 0.56, 0.03), paws), tail)
    return Finish(mixed(share, "f2f0ec", "f5c878"), 0.06 + 0.03 * share, np.ones_like(x))


def _glaze(x: Array, y: Array, z: Array) -> Finish:
    """Teal with flecks, a cream belt with red diamonds; knob and foot are of brass."""
    high = np.abs(z + 0.12)
    belly = edge(0.61 - across(x, y), 0.02)
    belt = edge(0.24 - high, 0.015) * belly
    line = edge(0.016 - np.abs(high - 0.29), 0.008) * belly
    diamonds = edge(np.sin(8 * np.arctan2(y, x)) + 0.1 - 5.2 * high, 0.2)
    flecks = np.sin(31 * x + 3 * np.sin(11 * y)) * np.sin(29 * y - 2 * np.sin(13 * z))
    flecks = edge(flecks * np.sin(27 * z + 2 * np.sin(9 * x)) - 0.45, 0.15)
    teal = mixed(0.7 * flecks, "0f6a78", "5fb6b4")
    painted = blended(teal, mixed(diamonds, "f3e6cc", "cf4a28"), belt)
    painted = blended(painted, _plain(x, "f3e6cc"), line)
    brass = np.maximum(edge(z - 0.56, 0.015), edge(-z - 0.63, 0.015))
    glaze = 0.2 + 0.08 * belt
    albedo = blended(painted, _plain(x, "e8b95c"), brass)
    return Finish(albedo, glaze + brass * (0.25 - glaze), brass)


def _clay(x: Array, y: Array, z: Array) -> Finish:
    """Matte green with stripes and spots, a pale belly, orange plates and dark eyes."""
    side = np.abs(y)
    stripes = np.sin(17 * x + 2.2 * np.sin(5 * z) + 1.5 * np.sin(6 * y))
    skin = mixed(edge(stripes - 0.15, 0.3) * edge(z + 0.2, 0.12), "7fa650", "35663f")
    spots = np.sin(23 * x + 2 * np.sin(9 * z)) * np.sin(25 * y) * np.sin(21 * z + 1.5)
    skin = blended(skin, _plain(x, "e9d98a"), edge(spots - 0.3, 0.12))
    belly = edge(0.16 - side, 0.05) * edge(-z - 0.26, 0.06) * edge(x + 0.45, 0.08)
    skin = blended(skin, _plain(x, "e8d6ae"), belly)
    for at, high, size in PLATES:
        inside = edge(size + 0.02 - across(x - at, z - high), 0.015)
        skin = blended(skin, _plain(x, "d9772e"), inside * edge(0.062 - side, 0.01))
    eyes = edge(0.034 - ball(x - 0.7, side - 0.1, z - 0.59, 0.0), 0.008)
    skin = blended(skin, _plain(x, "1c1a18"), eyes)
    return Finish(skin, np.ones_like(x), np.zeros_like(x))


FINISHES: dict[str, Callable[[Array, Array, Array], Finish]] = {
    "mirror": _foil,
    "glossy": _glaze,
    "diffuse": _clay,
}
