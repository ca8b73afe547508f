"""Façades, roofs, leaves and cars: painted by where on the face, from its lower left corner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splat.datasets.tracer.colours import linear
from worlds.district.layout import STOREY
from worlds.district.pattern import band, blotches, grain, lines, mix, tint
from worlds.district.pieces import Floats
from worlds.pattern import hashed

GLASS, CURTAIN, DOORS = linear("2a333b"), linear("d8d2c4"), linear("6b4a35")
MORTAR, PLINTH, DARK = linear("c9bfae"), linear("8f8a80"), linear("2c2a28")
GRAVEL = linear("a8a49b")


@dataclass(frozen=True)
class Spot:
    """Points of faces of one kind."""

    u: Floats
    """Metres to the right of the face's corner,"""
    v: Floats
    """and up along it."""
    point: Floats
    """[n, 3], in the world."""
    size: Floats
    """[n, 2]: of the face, metres."""
    span: Floats
    """What the pixel covers, metres."""
    colour: Floats
    """[n, 3], linear, of the face,"""
    second: Floats
    """and of its trim."""
    seed: Floats
    """Whole numbers."""
    facing: Floats
    """Cosine between the normal and the way to the eye."""


def wall(at: Spot) -> Floats:
    """Plaster with stains, a plinth, windows storey by storey, a door."""
    a, b = at.u + at.seed % 37, at.v + at.seed % 23
    stain = 0.05 * grain(a, b, 0.02, at.span) + 0.06 * blotches(a, b, 0.07, at.span, 2)
    streak = 0.07 * blotches(a * 4, b * 0.4, 0.09, at.span * 2, 3)
    low = np.clip(1 - at.v / 1.5, 0, 1) * 0.12
    colour = at.colour * (1 + stain + streak - low).clip(0.3)[:, None]
    colour = mix(colour, band(at.v, -1, 0.45, at.span), np.array(PLINTH))
    return _openings(at, np.asarray(colour, np.float32))


def brick_wall(at: Spot) -> Floats:
    """Courses of brick, with the same windows."""
    return _openings(at, brick(at))


def brick(at: Spot) -> Floats:
    """Courses of 8 cm, every other one shifted by half a brick of 25 cm."""
    course = np.floor(at.v / np.float32(0.08))
    shifted = at.u + np.where(course % 2 == 0, 0, 0.125).astype(np.float32)
    shade = 0.30 * tint(shifted / 0.25, at.v / 0.08, at.seed, at.span, 0.09)
    shade += 0.08 * grain(at.u, at.v, 0.015, at.span) + 0.08 * blotches(at.u, at.v, 0.08, at.span)
    # Bricks of a light wall are no less brick: the colour is drawn towards red.
    base = at.colour * np.float32(0.55) + np.array(linear("9c5a44"), np.float32) * np.float32(0.45)
    joint = np.maximum(lines(at.v, 0.08, 0.012, at.span), lines(shifted, 0.25, 0.012, at.span))
    joint *= np.clip(1.5 - at.span / 0.12, 0.35, 1)
    return mix(np.asarray(base * (1 + shade).clip(0.3)[:, None], np.float32), joint, MORTAR)


def _openings(at: Spot, colour: Floats) -> Floats:
    wide, high = at.size[:, 0], at.size[:, 1]
    across = 2.3 + 0.8 * (at.seed % 7) / 7
    count = np.maximum(np.floor((wide - 0.6) / across), 1)
    cell = wide / count
    column, storey = np.floor(at.u / cell), np.floor(at.v / STOREY)
    x, y = at.u - (column + 0.5) * cell, at.v - storey * STOREY - 0.45
    there = (storey + 1) * STOREY + 0.3 <= high + 0.2
    dice = hashed(column + at.seed, storey + at.seed % 101, 3)
    half = np.minimum(0.5 + 0.25 * ((at.seed // 7) % 5) / 5, cell * 0.36)
    door = (storey == 0) & (column == np.floor(count * ((at.seed // 3) % 10) / 10))
    there &= door | (dice > 0.06)
    foot, head = np.where(door, 0.0, 0.85), np.where(door, 2.15, 2.2)
    half = np.where(door, 0.5, half)
    frame = there * band(x, -half - 0.09, half + 0.09, at.span)
    frame = frame * band(y, foot - 0.09, head + 0.09, at.span)
    colour = mix(colour, frame, at.second)
    pane = there * band(x, -half, half, at.span) * band(y, foot, head, at.span)
    colour = mix(colour, pane, _pane(at, x, y, dice, door))
    bars = band(x, -0.03, 0.03, at.span) + band(y, 1.5, 1.56, at.span)
    colour = mix(colour, pane * ~door * np.clip(bars, 0, 1), at.second)
    sill = there * ~door * band(x, -half - 0.2, half + 0.2, at.span)
    colour = mix(colour, sill * band(y, foot - 0.2, foot - 0.1, at.span), np.array(PLINTH))
    shutters = there & ~door & ((at.seed // 11) % 4 == 0)
    beside = shutters * band(np.abs(x), half + 0.1, half + 0.5, at.span)
    slats = (1 - 0.4 * lines(y, 0.12, 0.04, at.span))[:, None]
    paint = np.where((at.seed % 2 == 0)[:, None], linear("4d6a5c"), linear("7a4a3a")) * slats
    return mix(colour, beside * band(y, foot - 0.05, head + 0.05, at.span), paint)


def _pane(at: Spot, x: Floats, y: Floats, dice: Floats, door: Floats) -> Floats:
    """Glass that shows curtains, or the sky to who looks along it; panels of a door."""
    shine = (0.04 + 0.5 * (1 - np.clip(at.facing, 0, 1)) ** 4).astype(np.float32)
    glass = mix(np.array(GLASS) * np.ones_like(at.colour), shine, (0.75, 0.85, 1.0))
    drawn = np.where(dice > 0.55, band(np.abs(x), 0.28, 2, at.span), 0)
    drawn = np.maximum(drawn, np.where(dice > 0.85, band(y, 1.2, 4, at.span), 0))
    folds = 0.75 + 0.15 * lines(x, 0.11, 0.05, at.span)
    glass = mix(glass, drawn * folds.astype(np.float32), CURTAIN)
    wood = np.array(DOORS) * (0.7 + 0.9 * ((at.seed // 5) % 6) / 6)[:, None]
    wood = wood * (1 - 0.35 * lines(x, 0.32, 0.05, at.span))[:, None]
    return np.where(door[:, None], wood, glass).astype(np.float32)


def tiles(at: Spot) -> Floats:
    """Rows of tiles of 30 by 33 cm, their lower edges in shadow, moss in drifts."""
    row = np.floor(at.v / np.float32(0.33))
    shifted = at.u + np.where(row % 2 == 0, 0, 0.15).astype(np.float32)
    shade = 0.20 * tint(shifted / 0.3, at.v / 0.33, at.seed, at.span, 0.3)
    shade += 0.09 * blotches(at.u + at.seed % 41, at.v, 0.09, at.span, 2)
    shade += 0.06 * grain(at.u, at.v, 0.02, at.span)
    colour = at.colour * (1 + shade).clip(0.3)[:, None]
    edge = np.maximum(lines(at.v, 0.33, 0.06, at.span), 0.6 * lines(shifted, 0.3, 0.04, at.span))
    colour = mix(colour, np.float32(0.7) * edge, at.colour * np.float32(0.25))
    moss = np.clip(blotches(at.u + at.seed % 53, at.v, 0.12, at.span, 5) - 1.1, 0, 0.7)
    return mix(np.asarray(colour, np.float32), moss, linear("6a7048"))


def flat_roof(at: Spot) -> Floats:
    """Gravel within a rim of sheet metal, seams, darker where water stood."""
    a, b = at.u + at.seed % 61, at.v + at.seed % 29
    shade = 0.16 * grain(a, b, 0.025, at.span, 4) - 0.14 * np.clip(
        blotches(a, b, 0.1, at.span), 0, 2
    )
    colour = np.array(GRAVEL, np.float32) * (1 + shade).clip(0.3)[:, None]
    colour = mix(np.asarray(colour, np.float32), 0.3 * lines(a, 2.6, 0.1, at.span), DARK)
    rim = np.minimum(np.minimum(at.u, at.size[:, 0] - at.u), np.minimum(at.v, at.size[:, 1] - at.v))
    return mix(colour, band(rim, -1, 0.3, at.span), linear("cfd0cf"))


def plain(at: Spot) -> Floats:
    """Trim and gables: the trim's colour where there is one, a little weathered."""
    shade = 0.06 * grain(at.u, at.v, 0.02, at.span) + 0.06 * blotches(at.u, at.v, 0.08, at.span)
    shade -= 0.1 * lines(at.u, 0.22, 0.02, at.span)
    return np.asarray(at.second * (1 + shade).clip(0.3)[:, None], np.float32)


def leaves(at: Spot) -> Floats:
    """Clumps of leaves, light and dark, in three directions at once."""
    x, y, z = (at.point[:, k].copy() for k in range(3))
    a, b = x + np.float32(0.6) * z + at.seed % 17, y - np.float32(0.5) * z
    clump = blotches(a, b, 0.03, at.span, 6) + 0.5 * blotches(b + x, z * 1.3, 0.04, at.span, 3)
    leaf = grain(a + y, b + z, 0.025, at.span, 7)
    shade = (1 + 0.22 * clump + 0.24 * leaf).clip(0.25, 2)
    return np.asarray(at.colour * shade[:, None], np.float32)


def bark(at: Spot) -> Floats:
    """Furrows along the trunk."""
    shade = 0.3 * blotches(at.u * 4, at.v, 0.03, at.span)
    return np.asarray(at.colour * (1 + shade).clip(0.3)[:, None], np.float32)


def car(at: Spot) -> Floats:
    """Paint; the sides of the cabin, which lean, are glass between posts."""
    x = at.u / at.size[:, 0]
    cabin = (at.point[:, 2] > 0.86) & (at.point[:, 2] < 1.44)
    glass = cabin * band(x, 0.06, 0.94, at.span) * (1 - band(x, 0.47, 0.53, at.span / 3))
    colour = mix(at.colour * np.float32(1.0), glass, at.second)
    low = (at.point[:, 2] < 0.42).astype(np.float32)
    wheels = np.maximum(band(x, 0.12, 0.28, at.span / 4), band(x, 0.72, 0.88, at.span / 4))
    return mix(colour, low * np.where(at.size[:, 0] > 3, wheels, 0.6), (0.012, 0.012, 0.013))
