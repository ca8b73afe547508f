"""Points to start from where photos show an object before a plain background: inside its outline.

The visual hull (Laurentini 1994): what lies outside an outline of any photo is no part of the
object. Points drawn inside it start where the object is, and with about its colours; points drawn
all over what cameras see leave floaters that nothing but chance removes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from splat.core.frame import focus_point, shown_pixels
from splat.types import Batch, Points

PLAIN_SHARE = 0.1
"""Share of the pixels of photos that must be of exactly the background's colour."""
MOST_VIEWS = 48
"""Views to look at, evenly spread; more carve little more."""
OUTSIDE_SHARE = 0.05
"""Share of the views that see a point from which on it lies outside for good: pixels of the object
may be of the background's colour, too."""
SEEN_SHARE = 0.5
"""Share of the views that must see a point."""
LEAST_DRAWN = 20_000
"""Points drawn at once, or four times as many as are wanted."""
ROUNDS = 40
"""Most rounds of drawing: of an object that fills little of its box few points are left."""


def plain(photos: Sequence[Batch], background: UInt8[Tensor, "3"]) -> bool:
    """Whether photos show something before a plain background of this colour."""
    shares = [float(_behind(photo.pixels, background).float().mean()) for photo in photos]
    return sum(shares) >= PLAIN_SHARE * len(shares)


def random_in_silhouettes(
    photos: Sequence[Batch],
    background: UInt8[Tensor, "3"],
    count: int,
    generator: torch.Generator,
) -> Points | None:
    """Points drawn evenly inside the outlines of photos on the CPU, of the mean colour seen there.

    None where the outlines leave (nearly) nothing: they are of several things, or of none.
    """
    cameras = [photo.camera for photo in photos]
    focus = focus_point(cameras).float()
    distances = torch.stack([(camera.centre - focus).norm() for camera in cameras])
    reach = 0.75 * float(distances.median())
    low, high = focus - reach, focus + reach
    drawn_at_once = max(LEAST_DRAWN, 4 * count)
    kept: list[Points] = []
    total = 0
    for attempt in range(ROUNDS):
        drawn = low + (high - low) * torch.rand(drawn_at_once, 3, generator=generator)
        inside = _inside(drawn, photos, background)
        if attempt == 0:
            if len(inside.positions) < 8:
                return None
            # From now on only where something is: its box, and a margin for what was missed.
            margin = 0.1 * (inside.positions.amax(0) - inside.positions.amin(0))
            low, high = inside.positions.amin(0) - margin, inside.positions.amax(0) + margin
            continue
        kept.append(inside)
        total += len(inside.positions)
        if total >= count:
            break
    positions, colors = (torch.cat([getattr(p, n) for p in kept]) for n in ("positions", "colors"))
    return Points(positions[:count], colors[:count])


def _inside(
    positions: Float[Tensor, "n 3"], photos: Sequence[Batch], background: UInt8[Tensor, "3"]
) -> Points:
    """The points that lie inside the outlines."""
    n = len(positions)
    seen, outside, colors = torch.zeros(n), torch.zeros(n), torch.zeros(n, 3)
    for photo in photos:
        rows, pixels = _looked_up(positions, photo)
        behind = _behind(pixels, background).float()
        seen.index_add_(0, rows, torch.ones_like(behind))
        outside.index_add_(0, rows, behind)
        colors.index_add_(0, rows, pixels.float() * (1 - behind)[:, None])
    kept = (seen >= SEEN_SHARE * len(photos)) & (outside < OUTSIDE_SHARE * seen)
    colors = colors / (seen - outside).clamp_min(1)[:, None] / 255
    return Points(positions[kept], colors[kept])


def _looked_up(
    positions: Float[Tensor, "n 3"], photo: Batch
) -> tuple[Int[Tensor, "m"], UInt8[Tensor, "m 3"]]:
    """Which points a photo shows, and its pixels there; masked pixels show none."""
    rows, place = shown_pixels(positions, photo.camera)
    if photo.mask is not None:
        counts = photo.mask.reshape(-1)[place] != 0
        rows, place = rows[counts], place[counts]
    return rows, photo.pixels.reshape(-1, 3)[place]


def _behind(pixels: UInt8[Tensor, "*s 3"], background: UInt8[Tensor, "3"]) -> Bool[Tensor, "*s"]:
    return (pixels == background).all(-1)
