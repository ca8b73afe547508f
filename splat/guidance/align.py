"""Depth that was given with a photo, aligned to the points of the scene that the photo shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.guidance.fit import fitted_line
from splat.types import Batch

Kind = Literal["metric", "affine", "inverse"]
Line = tuple[float, float]
"""Scale and shift of given depth."""

LEAST_POINTS = 12
"""Fewest points of the scene that depth is aligned to."""
OCCLUDED = 0.15
"""Relative depth behind the nearest point of its cell from which a point is occluded."""
CELLS = 24
"""Cells along the longer side of a photo."""


@dataclass(frozen=True)
class Seen:
    """Points of the scene that a camera sees."""

    pixels: Int[Tensor, "m"]
    """Pixel of each point, numbered row by row."""
    depth: Float[Tensor, "m"]
    """Camera z, units of training; float64."""
    given: Float[Tensor, "m"]
    """Value of the depth map there; float64."""


def visible(batch: Batch, points: Float[Tensor, "n 3"]) -> Seen:
    """Points in the picture where depth is given, less those that nearer ones hide."""
    assert batch.depth is not None
    camera, width = batch.camera, batch.camera.width
    pose, K = camera.world_to_camera.double(), camera.K.double()
    x, y, z = (points.to(pose) @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    before = z > 1e-6
    x, y, z = x[before], y[before], z[before]
    columns = (K[0, 0] * x / z + K[0, 2]).floor()
    rows = (K[1, 1] * y / z + K[1, 2]).floor()
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < camera.height)
    columns, rows, z = columns[inside].long(), rows[inside].long(), z[inside]
    side = max(1, max(width, camera.height) // CELLS)
    cells = (rows // side) * (width // side + 1) + columns // side
    front = z.new_full(((camera.height // side + 1) * (width // side + 1),), torch.inf)
    front = front.scatter_reduce(0, cells, z, "amin")
    pixels = rows * width + columns
    given = batch.depth.flatten().index_select(0, pixels).double()
    kept = (z <= (1 + OCCLUDED) * front.index_select(0, cells)) & (given != 0)
    if batch.mask is not None:
        kept &= batch.mask.flatten().index_select(0, pixels) != 0
    return Seen(pixels[kept], z[kept], given[kept])


def aligning_line(given: Float[Tensor, "m"], depth: Float[Tensor, "m"], kind: Kind) -> Line | None:
    """Scale and shift that make depth (`inverse`: one over it) of given numbers.

    By the least absolute relative residuals; None where x varies too little, or a larger number
    would be less depth.
    """
    if kind == "metric":
        return 1.0, 0.0
    target = 1 / depth if kind == "inverse" else depth
    line = fitted_line(given, target, 1 / target)
    return None if line is None or line[0] <= 0 else line


def line_to_points(seen: Seen, kind: Kind) -> Line | None:
    """Scale and shift of a photo's depth to the points that it shows; None: too few points."""
    if kind != "metric" and len(seen.given) < LEAST_POINTS:
        return None
    return aligning_line(seen.given, seen.depth, kind)


def in_depth(given: Float[Tensor, "*n"], line: Line, kind: Kind) -> Float[Tensor, "*n"]:
    """Given numbers as depth, by what `aligning_line` found; 0 where they are beyond infinity."""
    depth = line[0] * given + line[1]
    if kind == "inverse":
        # Of a number just above 0, which is as far as can be, one over it may be infinite.
        depth = torch.where(depth > 1e-9, 1 / depth.clamp_min(1e-9), torch.zeros_like(depth))
    return depth.clamp_min(0)
