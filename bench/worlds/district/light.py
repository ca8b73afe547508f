"""Sun with shadows, and the light of the sky where houses leave it open. Everything is matte."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from splat.datasets.tracer.colours import encoded
from worlds.district.layout import District, pieces
from worlds.district.pieces import Floats
from worlds.district.trace import Doubles, Lens, lens_along, look

SUN = np.array([-0.46, -0.52, 0.0])
SUN[2] = np.sqrt(1 - SUN @ SUN)
"""Unit, towards it: afternoon, 46 degrees high."""
SUNLIGHT, SKYLIGHT, BOUNCE = (1.62, 1.47, 1.22), (0.50, 0.60, 0.76), (0.20, 0.18, 0.15)
"""Linear light on a surface that faces the sun, the open sky, the ground."""
EXPOSURE = 0.62
HORIZON, ZENITH = (1.18, 1.27, 1.36), (0.42, 0.68, 1.18)
TEXELS = 5_000_000
"""Of the map of the sun, at most."""
FINEST, HEIGHTS = 0.1, 0.5
"""Pitch of the map of the sun, at least, and of that of heights, metres."""
ROOM = 32.0
"""Nothing is as high as that, metres."""
REACHES = (0.75, 1.5, 3.0, 6.0, 12.0, 20.0)
"""How far away what hides the sky is looked for, metres."""


@dataclass(frozen=True)
class Light:
    """What the sun reaches, and how much of the sky the ground sees."""

    sun: Lens
    first: Floats
    """[h, w]: nearness of the first surface along the sun's rays."""
    above: Lens
    open: Floats
    """[h, w]: share of the sky that is seen from the ground, by the cosine."""

    def on(self, point: Floats, normal: Floats, through: Floats) -> Floats:
        """Linear light on surfaces [n, 3]; `through` is the share of leaves' light from behind."""
        facing = normal @ SUN.astype(np.float32)
        facing = np.maximum(facing, 0) + through * np.float32(0.35) * np.maximum(-facing, 0)
        direct = facing * self._reached(point + normal * np.float32(0.12))
        ground = _read(self.above, self.open, point + normal * np.float32(1.0))
        sky = ground + (1 - ground) * np.clip(point[:, 2] / np.float32(14), 0, 1)
        up = (0.5 + 0.5 * normal[:, 2]) * sky
        down = (0.5 - 0.5 * normal[:, 2]) * (0.35 + 0.65 * ground)
        total = direct[:, None] * np.array(SUNLIGHT, np.float32)
        total += up[:, None] * np.array(SKYLIGHT, np.float32)
        total += down[:, None] * np.array(BOUNCE, np.float32)
        return np.asarray(total, np.float32)

    def _reached(self, point: Floats) -> Floats:
        """1 in the sun, 0 in shadow, between at the rims."""
        start, ray = self.sun.start[2], self.sun.direction[2]
        near = -((point - start.astype(np.float32)) @ ray.astype(np.float32))
        i, j, s, t = _cells(self.sun, point)
        lit = np.zeros(len(point), np.float32)
        for di, across in ((0, 1 - s), (1, s)):
            for dj, down in ((0, 1 - t), (1, t)):
                first = self.first[j + dj, i + di]
                lit += across * down * (near > first - np.float32(0.12))
        return lit


def _cells(lens: Lens, point: Floats) -> tuple[Floats, ...]:
    """The four texels about points of the world: the first one's column and row, and shares."""
    by = lens.to_pixels[:2].astype(np.float32)
    a, b = point @ by[0, :3] + by[0, 3], point @ by[1, :3] + by[1, 3]
    a, b = np.clip(a, 0, lens.width - 1.001), np.clip(b, 0, lens.height - 1.001)
    i, j = a.astype(np.int32), b.astype(np.int32)
    return i, j, (a - i).astype(np.float32), (b - j).astype(np.float32)


def _read(lens: Lens, values: Floats, point: Floats) -> Floats:
    i, j, s, t = _cells(lens, point)
    low = values[j, i] * (1 - s) + values[j, i + 1] * s
    high = values[j + 1, i] * (1 - s) + values[j + 1, i + 1] * s
    return np.asarray(low * (1 - t) + high * t, np.float32)


@lru_cache(maxsize=2)
def lit(district: District) -> Light:
    """Light on a district: a second or two, once."""
    everything = pieces(district)
    (x, y), margin = district.half, 2.0
    low, high = np.array([-x - margin, -y - margin, 0]), np.array([x + margin, y + margin, ROOM])
    area = 4 * (x + margin) * (y + margin)
    sun = lens_along(-SUN, np.array([1.0, 0, 0]), low, high, max(FINEST, (area / TEXELS) ** 0.5))
    above = lens_along(np.array([0, 0, -1.0]), np.array([1.0, 0, 0]), low, high, HEIGHTS)
    heights = look(above, everything).near + np.float32(above.start[2, 2])
    return Light(sun, look(sun, everything).near, above, _open(heights))


def _open(heights: Floats) -> Floats:
    """Mean over directions of the squared cosine of the height of what stands there."""
    total, turns = np.zeros_like(heights), 12
    for turn in 2 * np.pi * (np.arange(turns) + 0.5) / turns:
        steepest = np.zeros_like(heights)
        for reach in REACHES:
            di, dj = (round(float(f(turn)) * reach / HEIGHTS) for f in (np.cos, np.sin))
            shifted = _shifted(heights, di, dj)
            np.maximum(steepest, shifted / np.float32(reach), out=steepest)
        total += 1 / (1 + steepest * steepest)
    return np.asarray(total / turns, np.float32)


def _shifted(values: Floats, di: int, dj: int) -> Floats:
    """values[j + dj, i + di], and beyond the edges 0."""
    h, w = values.shape
    result = np.zeros_like(values)
    to = (slice(max(-dj, 0), min(h - dj, h)), slice(max(-di, 0), min(w - di, w)))
    of = (slice(max(dj, 0), min(h + dj, h)), slice(max(di, 0), min(w + di, w)))
    if all(part.start < part.stop for part in (*to, *of)):
        result[to] = values[of]
    return result


def sky(direction: Doubles | Floats) -> Floats:
    """Linear light of the sky, and of the haze at the horizon, [n, 3]."""
    length = np.sqrt((direction * direction).sum(-1))
    rise = np.clip(direction[..., 2] / length, 0, 1)[..., None] ** np.float32(0.6)
    return np.asarray(np.array(HORIZON) + rise * (np.array(ZENITH) - HORIZON), np.float32)


def displayed(light: Floats) -> Floats:
    """sRGB in [0, 1] of linear light, highlights rolled off."""
    return np.asarray(encoded(light * np.float32(EXPOSURE)), np.float32)
