"""Streets, pavements, gardens, parks and the meadows around: painted by where in the world."""

from __future__ import annotations

import numpy as np

from splat.datasets.tracer.colours import linear
from worlds.district.layout import BLOCK, PAVEMENT, STREET, District
from worlds.district.pattern import band, blotches, grain, lines, mix, tint
from worlds.district.pieces import Floats

ASPHALT, PAINT, SEAM = linear("63656a"), linear("e8e6de"), linear("46474b")
SLAB, JOINT, STONE = linear("a9a49a"), linear("77736b"), linear("b8b3a8")
GRASS, DRY, DEEP, EARTH = (linear(c) for c in ("6f8a46", "9a9a5c", "4f6d36", "8a7355"))
FIELDS = tuple(np.array(linear(c)) for c in ("8c9a55", "b5a468", "6f8a4a", "a39a5e"))


def street(district: District, point: Floats, span: Floats) -> Floats:
    """Albedo [n, 3] of the ground: streets with their markings, and meadows beyond."""
    x, y = point[:, 0].copy(), point[:, 1].copy()
    half = district.half
    outside = np.maximum(np.abs(x) - np.float32(half[0]), np.abs(y) - np.float32(half[1]))
    colour = np.empty((len(x), 3), np.float32)
    for where, paint in ((outside > 0, _meadow), (outside <= 0, _asphalt)):
        mine = np.flatnonzero(where)
        if len(mine):
            colour[mine] = paint(district, x[mine], y[mine], span[mine])
    return colour


def _asphalt(district: District, x: Floats, y: Floats, span: Floats) -> Floats:
    worn = 0.10 * grain(x, y, 0.03, span) + 0.09 * blotches(x, y, 0.11, span)
    worn += 0.07 * blotches(x, y, 0.9, span, 2)
    colour = np.array(ASPHALT, np.float32) * (1 + worn)[:, None].clip(0.4)
    # Cracks lie where a drift passes through nothing.
    drift = blotches(x, y, 0.06, np.maximum(span, 0.03), 3)
    crack = np.clip(1 - np.abs(drift) / (0.05 + 1.5 * span), 0, 1) * (drift * 0 + 0.5)
    colour = mix(colour, crack * np.clip(1.3 - 6 * span, 0, 1), SEAM)
    half, pitch = district.half, (BLOCK[0] + STREET, BLOCK[1] + STREET)
    # Distance from the middle line of the nearest street along y, and along x.
    a, b = (
        (w + np.float32(h - STREET / 2 + p / 2)) % np.float32(p) - np.float32(p / 2)
        for w, h, p in zip((x, y), half, pitch, strict=True)
    )
    inner = np.float32(STREET / 2)
    for off, along, other in ((a, y, b), (b, x, a)):
        on = (np.abs(off) < inner) & (np.abs(other) > inner)
        dash = lines(along, 4.0, 1.8, span) * band(off, -0.07, 0.07, span)
        edge = band(np.abs(off), inner - 2.28, inner - 2.2, span) * lines(along, 5.6, 5.4, span)
        far = np.abs(other) - inner
        zebra = band(far, 0.8, 3.6, span) * lines(off, 1.0, 0.5, span)
        gutter = band(np.abs(off), inner - 0.32, inner, span)
        clear = far > 4.2
        worn_paint = 0.82 + 0.12 * grain(off, along, 0.05, span, 4)
        paint = np.maximum(np.where(clear, np.maximum(dash, 0.8 * edge), zebra) * worn_paint, 0)
        colour = mix(colour, on * gutter * np.float32(0.55), SLAB)
        colour = mix(colour, on * np.clip(paint, 0, 1), PAINT)
    return colour


def _meadow(district: District, x: Floats, y: Floats, span: Floats) -> Floats:
    del district
    # Fields of their own colour, a hundred metres wide, bent at their edges.
    bend = 6 * blotches(x, y, 1.6, span, 5)
    i, j = np.floor((x + bend) / 97), np.floor((y + bend) / 71)
    kind = ((i * 7 + j * 13).astype(np.int32) % len(FIELDS) + len(FIELDS)) % len(FIELDS)
    colour = np.stack(FIELDS)[kind].astype(np.float32)
    furrow = lines(np.where(kind % 2 == 0, x, y), 1.4, 0.6, span) - np.float32(0.43)
    vary = 0.14 * grain(x, y, 0.06, span) + 0.14 * blotches(x, y, 0.45, span, 2) + 0.16 * furrow
    colour = colour * (1 + vary).clip(0.4, 1.7)[:, None]
    return np.asarray(colour, np.float32)


def yard(u: Floats, v: Floats, span: Floats, seed: Floats) -> Floats:
    """A block's own ground: pavement of slabs round it, gardens and paved places within."""
    rim = np.minimum(np.minimum(u, BLOCK[0] - u), np.minimum(v, BLOCK[1] - v))
    paved = np.clip((PAVEMENT - rim) / np.maximum(span, 0.02) + 0.5, 0, 1)
    # Some gardens have a terrace: squares of a coarse grid.
    i, j = u / np.float32(5.5), v / np.float32(4.25)
    terrace = tint(i, j, seed, span * 0, 1) > 0.62
    colour = mix(lawn(u, v, span, seed), np.maximum(paved, terrace), slabs(u, v, span, seed))
    return mix(colour, band(rim, -0.01, 0.18, span), STONE)


def lawn(u: Floats, v: Floats, span: Floats, seed: Floats) -> Floats:
    """Grass, some of it dry, some of it bare."""
    a, b = u + seed % 91, v + seed % 57
    colour = np.array(GRASS, np.float32) * np.ones((len(u), 1), np.float32)
    colour = mix(colour, np.clip(0.35 + 0.4 * blotches(a, b, 0.2, span), 0, 1), DRY)
    colour = mix(colour, np.clip(0.5 * grain(a, b, 0.04, span, 6), 0, 1), DEEP)
    colour = mix(colour, np.clip(0.9 * blotches(a, b, 0.09, span, 7) - 1.3, 0, 0.8), EARTH)
    return np.asarray(colour * (1 + 0.16 * grain(a, b, 0.02, span)).clip(0.4)[:, None], np.float32)


def slabs(u: Floats, v: Floats, span: Floats, seed: Floats) -> Floats:
    """Concrete slabs of 60 by 40 cm, each of a tint of its own, with joints."""
    shade = 0.15 * tint(u / 0.6, v / 0.4, seed, span, 0.4) + 0.09 * grain(u, v, 0.03, span)
    shade += 0.08 * blotches(u, v, 0.12, span, 2)
    colour = np.array(SLAB, np.float32) * (1 + shade).clip(0.4)[:, None]
    joint = np.maximum(lines(u, 0.6, 0.025, span), lines(v, 0.4, 0.025, span))
    return mix(np.asarray(colour, np.float32), joint, JOINT)


def park(u: Floats, v: Floats, span: Floats, seed: Floats) -> Floats:
    """Lawns, two paths of gravel that cross at a round place, pavement about it."""
    a, b = u - np.float32(BLOCK[0] / 2), v - np.float32(BLOCK[1] / 2)
    bend = 0.35 * blotches(u, v, 0.3, span, 8)
    path = np.maximum(band(a + bend, -1.3, 1.3, span), band(b + bend, -1.3, 1.3, span))
    path = np.maximum(path, band(np.hypot(a, b), -1, 4.6, span))
    shade = (1 + 0.2 * grain(u, v, 0.03, span, 9) + 0.08 * blotches(u, v, 0.2, span)).clip(0.4)
    gravel = np.array(linear("c2ae8a"), np.float32) * shade[:, None]
    colour = mix(lawn(u, v, span, seed), path, gravel)
    rim = np.minimum(np.minimum(u, BLOCK[0] - u), np.minimum(v, BLOCK[1] - v))
    colour = mix(colour, band(rim, -1, PAVEMENT, span), slabs(u, v, span, seed))
    return mix(colour, band(rim, -0.01, 0.18, span), STONE)
