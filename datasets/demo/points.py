"""Points on what the cameras see, as structure from motion would have left them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from splat.datasets.demo import light
from splat.datasets.demo.poses import cameras
from splat.datasets.demo.shapes import SOLIDS, Solid
from splat.datasets.demo.trace import trace
from splat.datasets.tracer.colours import encoded
from splat.datasets.tracer.pictures import pixels, rays
from splat.datasets.tracer.vectors import ahead
from splat.types import Points

NOISE = 0.004
"""Standard deviation of a coordinate: about half a pixel at the default size."""
LOOKS = 12
WIDTH, HEIGHT = 120, 90
"""Views that points are taken from, and their size."""


def points(count: int = 6_000, seed: int = 0, solids: Sequence[Solid] = SOLIDS) -> Points:
    """Coloured points on visible surfaces, slightly off; half of them on the things."""
    generator = np.random.default_rng(seed)
    seen = []
    for camera in cameras(LOOKS, WIDTH, HEIGHT):
        u, v = pixels(camera)
        through = rays(camera, u + 0.5, v + 0.5)
        hits = trace(through, solids)
        place = ahead(through.eye, hits.t, through.direction)
        seen.append([hits.number, *place, *hits.normal, *through.direction])
    number, *rest = (np.concatenate(column) for column in zip(*seen, strict=True))
    things = number > 1
    chances = np.where(things, 0.5 / things.sum(), 0.5 / (~things).sum())
    chosen = generator.choice(len(number), count, p=chances)
    x, y, z, a, b, c, d, e, f = (column[chosen] for column in rest)
    colors = encoded(light.radiance(number[chosen], (x, y, z), (a, b, c), (d, e, f), solids))
    positions = np.stack([x, y, z], 1) + generator.normal(0, NOISE, (count, 3))
    return Points(torch.from_numpy(positions).float(), torch.from_numpy(colors))
