"""Points on the room's surfaces: exact ones, and such as structure from motion leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.datasets.tracer.pictures import rays
from splat.datasets.tracer.vectors import Array, Numbers, ahead
from splat.types import Camera, Points
from worlds.sweep.poses import cameras
from worlds.sweep.shapes import Piece, inside, place
from worlds.sweep.trace import Stage, displayed, render, shaded, stage, trace

LOOKS = 24
WIDTH, HEIGHT = 160, 120
"""Views that points are taken from, and their size."""
OUTLIERS = 0.01
"""Share of points that were matched wrongly."""
LIFT = 1e-3
"""A place is on a surface that can be seen if this far above it, metres, there is air."""

Columns = tuple[Array, Array, Array, Numbers]
Samples = tuple[
    Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, "n 3"], UInt8[Tensor, "n"]
]


def points(
    count: int = 20_000,
    seed: int = 0,
    noise: float = 0.003,
    *,
    kind: str = "sweep",
    clutter: bool = True,
    outliers: float = OUTLIERS,
    views: Sequence[Camera] = (),
) -> Points:
    """Coloured points on what `views` see, or else cameras of `kind`, dense where there is detail.

    The bare wall has next to none. `noise` is the standard deviation of a coordinate, metres;
    `outliers` is the share of points whose distance from a camera is wrong by a third or so.
    """
    generator = np.random.default_rng([seed, 1])
    eyes = [view.resized(WIDTH, HEIGHT) for view in views or cameras(LOOKS, kind=kind)]
    weights = np.stack([_detail(render(eye, 1, clutter).image.numpy()) for eye in eyes])
    chances = weights.ravel().astype(np.float64)
    chosen = np.sort(generator.choice(len(chances), count, p=chances / chances.sum()))
    look, pixel = np.divmod(chosen, WIDTH * HEIGHT)
    off = generator.uniform(0, 1, (2, count)).astype(np.float32)
    found, places, colours = stage(None, clutter), [], []
    for index, eye in enumerate(eyes):
        mine = np.flatnonzero(look == index)
        v, u = np.divmod(pixel[mine], WIDTH)
        through = rays(
            eye, u.astype(np.float32) + off[0, mine], v.astype(np.float32) + off[1, mine]
        )
        hits = trace(found, through)
        wrong = generator.random(len(mine)) < outliers
        stretch = np.exp(0.35 * generator.standard_normal(len(mine)) * wrong)
        places.append(np.stack(ahead(through.eye, hits.t * stretch, through.direction), 1))
        colours.append(displayed(hits.light))
    positions = np.concatenate(places) + generator.normal(0, noise, (count, 3))
    order = generator.permutation(count)
    return Points(
        torch.from_numpy(positions[order]).float(),
        torch.from_numpy(np.concatenate(colours)[order]).float(),
    )


def _detail(image: np.ndarray) -> Array:
    """How much the picture changes about each pixel, up to a limit; 0 where it barely does."""
    grey = image.astype(np.float32).mean(-1)
    down, across = np.gradient(grey)
    strength: Array = np.hypot(down, across)
    return np.asarray(np.clip(strength - 2.5, 0, 25))


def surface(count: int, seed: int = 0, *, clutter: bool = True) -> Samples:
    """Positions, outer normals, colours in [0, 1] and object numbers of points spread evenly.

    Exactly on the surfaces, as many per square metre everywhere; none where another piece covers
    the surface, such as on the floor under the rug.
    """
    generator = np.random.default_rng([seed, 2])
    found = stage(None, clutter)
    faces = [
        (own, number) for own, piece in enumerate(found.pieces) for number in range(piece.faces)
    ]
    areas = np.array([_area(found.pieces[own], number) for own, number in faces])
    parts = []
    have = 0
    while have < count:
        drawn = generator.multinomial(2 * (count - have) + 100, areas / areas.sum())
        rows = [
            _patch(found, own, number, generator.random((3, many)))
            for (own, number), many in zip(faces, drawn, strict=True)
        ]
        batch = [np.concatenate(column) for column in zip(*rows, strict=True)]
        order = generator.permutation(len(batch[0]))
        parts.append(tuple(column[order] for column in batch))
        have += len(order)
    where, normal, colour, ids = (
        np.concatenate(column)[:count] for column in zip(*parts, strict=True)
    )
    return (
        torch.from_numpy(where.astype(np.float32)),
        torch.from_numpy(normal.astype(np.float32)),
        torch.from_numpy(colour.astype(np.float32)),
        torch.from_numpy(ids.astype(np.uint8)),
    )


def _area(piece: Piece, number: int) -> float:
    """Square metres of a face, or more where `_kept` drops some."""
    a, b, c = piece.half
    if piece.kind == "ball":
        return float(4 * np.pi * a * b * c / min(piece.half))
    if piece.kind == "drum":
        return float(4 * np.pi * a * c) if number == 0 else 4 * a * b
    return 4 * (b * c, a * c, a * b)[number // 2]


def _kept(piece: Piece, number: int, u: Array, v: Array, chance: Array) -> Array:
    """Which of places drawn evenly over (u, v) make them even over the surface."""
    a, b = 2 * u - 1, 2 * v - 1
    if piece.kind == "ball":
        turn, wide = (u - 0.5) * 2 * np.pi, np.sqrt(1 - b * b)
        unit = (np.cos(turn) * wide, np.sin(turn) * wide, b)
        stretch = np.sqrt(sum((p / h) ** 2 for p, h in zip(unit, piece.half, strict=True)))
        return np.asarray(chance < stretch * min(piece.half))
    if piece.kind == "drum" and number:
        return np.asarray(a * a + b * b <= 1)
    return np.ones(len(u), bool)


def _patch(found: Stage, own: int, number: int, draws: Array) -> Columns:
    """Positions, normals, colours and numbers of places of one face that are in the open."""
    piece = found.pieces[own]
    u, v = draws[:2, _kept(piece, number, draws[0], draws[1], draws[2])]
    point, normal = place(piece, number, u, v)
    above = ahead(point, LIFT, normal)
    open_ = inside(found.pieces[0], above)
    for other in found.pieces[1:]:
        open_ &= ~inside(other, above)
    rows = np.flatnonzero(open_)
    x, y, z = (p[rows] for p in point)
    ids, _, light = shaded(found, own, (x, y, z))
    columns = np.stack([n[rows] for n in normal], 1)
    return np.stack([x, y, z], 1), columns, displayed(light), ids
