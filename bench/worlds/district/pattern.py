"""Patterns that know how much of them a pixel covers: what is finer than it is averaged away."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from worlds.district.pieces import Floats
from worlds.pattern import hashed

SIZE = 512
"""Texels along a side of a tile."""


@dataclass(frozen=True)
class Tile:
    """A periodic random texture with halved copies of itself, mean 0, standard deviation 1."""

    levels: tuple[Floats, ...]

    def at(self, x: Floats, y: Floats, texel: float, span: Floats) -> Floats:
        """Its value at places in metres, a texel being so wide and the pixel covering `span`."""
        level = np.log2(np.maximum(span / np.float32(texel), 1))
        level = np.minimum(level, np.float32(len(self.levels) - 1.001))
        whole = level.astype(np.int32)
        value = np.empty_like(x)
        for number in range(int(whole.min(initial=0)), int(whole.max(initial=0)) + 1):
            mine = np.flatnonzero(whole == number)
            share = level[mine] - number
            a, b = x[mine] / np.float32(texel), y[mine] / np.float32(texel)
            fine, coarse = (
                _between(self.levels[k], a * np.float32(0.5**k), b * np.float32(0.5**k))
                for k in (number, number + 1)
            )
            value[mine] = fine + share * (coarse - fine)
        return value


def _between(texture: Floats, a: Floats, b: Floats) -> Floats:
    """Bilinear, around the edges."""
    size, flat = len(texture), texture.ravel()
    i, j = np.floor(a), np.floor(b)
    s, t = a - i, b - j
    i0, j0 = i.astype(np.int32) % size, j.astype(np.int32) % size
    i1, j1 = (i0 + 1) % size, (j0 + 1) % size * size
    j0 = j0 * size
    low = flat[j0 + i0] * (1 - s) + flat[j0 + i1] * s
    high = flat[j1 + i0] * (1 - s) + flat[j1 + i1] * s
    return np.asarray(low * (1 - t) + high * t, np.float32)


@cache
def tile(seed: int, slope: float) -> Tile:
    """Noise, its amplitude falling as frequency^-slope: 1 has blotches of all sizes, 0.4 grain."""
    white = np.random.default_rng([77, seed]).standard_normal((SIZE, SIZE))
    wave = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :]) * SIZE
    # Neither waves as long as the tile, which would show that it repeats, nor a mean.
    gain = np.where(wave < 3, 0, np.maximum(wave, 1) ** -slope)
    value = np.fft.irfft2(np.fft.rfft2(white) * gain, (SIZE, SIZE))
    levels = [(value / value.std()).astype(np.float32)]
    while len(levels[-1]) > 8:
        fine = levels[-1]
        # A texel of the next level has its centre where one of this level has: 1 2 1 both ways.
        for axis in (0, 1):
            fine = (np.roll(fine, 1, axis) + 2 * fine + np.roll(fine, -1, axis)) / np.float32(4)
        levels.append(np.ascontiguousarray(fine[::2, ::2]))
    return Tile(tuple(levels))


def grain(x: Floats, y: Floats, texel: float, span: Floats, seed: int = 0) -> Floats:
    """Fine detail down to `texel` metres."""
    return tile(seed, 0.55).at(x, y, texel, span)


def blotches(x: Floats, y: Floats, texel: float, span: Floats, seed: int = 1) -> Floats:
    """Stains and drifts, a few hundred texels wide and less."""
    return tile(seed, 1.15).at(x, y, texel, span)


def band(a: Floats, low: float | Floats, high: float | Floats, span: Floats) -> Floats:
    """Share of a pixel between two edges."""
    half = np.maximum(span, np.float32(1e-3)) / 2
    inside = np.minimum(a + half, high) - np.maximum(a - half, low)
    return np.asarray(np.clip(inside / (2 * half), 0, 1), np.float32)


def lines(a: Floats, period: float, width: float, span: Floats) -> Floats:
    """Share of a pixel that lines of a width cover, one every `period`, the first around 0."""
    half = np.maximum(span, np.float32(1e-3)) / 2
    covered = (_sum(a + half, period, width) - _sum(a - half, period, width)) / (2 * half)
    return np.asarray(np.clip(covered, 0, 1), np.float32)


def _sum(a: Floats, period: float, width: float) -> Floats:
    """Length of line from 0 to a."""
    turns = a / np.float32(period) + np.float32(width / 2 / period)
    whole = np.floor(turns)
    return np.asarray(
        whole * np.float32(width) + np.minimum((turns - whole) * np.float32(period), width),
        np.float32,
    )


def tint(i: Floats, j: Floats, seed: Floats | int, span: Floats, cell: float) -> Floats:
    """A number in [-1, 1) for each cell, going to 0 where pixels are as large as cells."""
    shift = np.asarray(seed)
    value = hashed(np.floor(i) + shift, np.floor(j) + shift * 3, 5) * 2 - 1
    return np.asarray(value * np.clip(1.6 - span / np.float32(cell), 0, 1), np.float32)


def mix(base: Floats, share: Floats, colour: Floats | npt.ArrayLike) -> Floats:
    """[n, 3]: `base` covered by `colour` where `share` is 1."""
    top = np.asarray(colour, np.float32)
    return np.asarray(base + share[:, None] * (top - base), np.float32)
