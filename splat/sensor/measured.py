"""Exposures of photos, measured on the points that they share or read from EXIF."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from splat.types import Batch, Camera, Points

MOST_POINTS = 20_000
"""Most points that exposures are measured on."""
FEWEST_POINTS = 50
"""Fewest points that a photo must see for its exposure to be measured."""
DARK, BRIGHT = 0.06, 0.94
"""Values between which a channel is neither too dark nor clipped to be used."""
GAMMA = 2.2
"""Gamma of displays."""
DIFFERENT = 0.1
"""Standard deviation of exposures, stops, from which photos are said to differ."""


@dataclass(frozen=True)
class Measured:
    """Exposures of photos, relative to their mean."""

    gains: Float[Tensor, "v 3"]
    """Gain of each channel over the mean photo; 1 where it is not known."""
    known: int
    """Number of photos whose exposure is known."""
    by: str = "on points that they share"
    """How it was measured, in words for messages."""
    of: str = "photos"
    """What differs, in words likewise."""

    @property
    def spread(self) -> float:
        """Standard deviation of the exposures, stops."""
        return float(self.gains.log2().mean(1).std(correction=0))

    @property
    def tint(self) -> float:
        """Standard deviation of a channel's gain beside the exposure, stops."""
        stops = self.gains.log2()
        return float((stops - stops.mean(1, keepdim=True)).std(correction=0))

    def text(self) -> str:
        """The exposures in a sentence."""
        if not self.known:
            return "there are no points to compare photos by, and EXIF says nothing"
        differ = f"the {self.of} {'differ' if self.differ else 'are alike'}"
        return (
            f"{differ}: by {self.spread:.2f} stops and, between channels, {self.tint:.2f} (standard"
            f" deviation, {self.known} photos, {self.by})"
        )

    @property
    def differ(self) -> bool:
        """Whether the photos are so different that they must be brought together."""
        return max(self.spread, self.tint) >= DIFFERENT


def by_camera(estimate: Measured, sensors: Sequence[int], cameras: int) -> Measured:
    """Exposures of so many cameras, each the mean in stops of its photos; `sensors`: whose each
    photo is.

    Cameras none of whose photos were measured have the mean exposure.
    """
    stops, whose = estimate.gains.double().log2(), torch.tensor(sensors)
    count = torch.zeros(cameras, dtype=torch.float64)
    count.index_add_(0, whose, torch.ones_like(stops[:, 0]))
    sums = torch.zeros(cameras, 3, dtype=torch.float64).index_add_(0, whose, stops)
    means = sums / count.clamp_min(1)[:, None]
    means[count == 0] = means[count > 0].mean(0)
    gains = (means - means.mean(0)).exp2().float()
    return replace(estimate, gains=gains, of="cameras")


def measured(batches: Iterable[Batch], points: Points) -> Measured:
    """The exposure of photos by what they show of coloured points, frame of the cameras.

    A gain is the median, over the points before a camera and in its picture, of the photo's value
    over the point's own colour, the mean of those who saw it: what hides a point is brighter as
    often as it is darker.
    """
    every = max(1, len(points.positions) // MOST_POINTS)
    some = Points(points.positions[::every], points.colors[::every])
    stops = torch.stack([_stops(batch, some) for batch in batches])
    known = stops.isfinite().all(1)
    stops[~known] = stops[known].mean(0) if bool(known.any()) else 0.0
    return Measured((stops - stops.mean(0)).exp2().float(), int(known.sum()))


def by_exif(values: Sequence[float | None]) -> Measured:
    """The exposure of photos by what they were exposed for, stops; None where that is not known.

    A scene of constant light is darker in a photo that was exposed for more of it. Values of a
    photo are not proportional to light: gains are those of a gamma of 2.2.
    """
    known = torch.tensor([value is not None for value in values])
    stops = torch.tensor([value or 0.0 for value in values], dtype=torch.float64)
    if bool(known.any()):
        stops[~known] = stops[known].mean()
    gains = ((stops.mean() - stops) / GAMMA).exp2().float()
    return Measured(gains[:, None].repeat(1, 3), int(known.sum()), "by EXIF")


def _stops(batch: Batch, points: Points) -> Float[Tensor, "3"]:
    """Median of log2(photo / point) for each channel; NaN where too little is seen."""
    u, v, inside = _pixels(batch.camera, points.positions)
    pixels = batch.pixels[v[inside], u[inside]].double() / 255
    own = points.colors[inside].double()
    counts = torch.ones(len(own), dtype=torch.bool)
    if batch.mask is not None:
        counts = batch.mask[v[inside], u[inside]] != 0
    stops = torch.full((3,), torch.nan, dtype=torch.float64)
    for channel in range(3):
        x, y = own[:, channel], pixels[:, channel]
        good = counts & (x > DARK) & (x < BRIGHT) & (y > DARK) & (y < BRIGHT)
        if int(good.sum()) >= FEWEST_POINTS:
            stops[channel] = float(np.median((y[good] / x[good]).log2().numpy()))
    return stops


def _pixels(camera: Camera, positions: Float[Tensor, "n 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """The pixel of each point, and whether it lies before the camera and in its picture."""
    pose, K = camera.world_to_camera.double(), camera.K.double()
    inside = ~camera.depths(positions).isnan()
    x, y, z = (positions.double() @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    z = z.where(inside, torch.ones_like(z))
    u = ((K[0, 0] * x / z + K[0, 2]).where(inside, torch.zeros_like(z))).long()
    v = ((K[1, 1] * y / z + K[1, 2]).where(inside, torch.zeros_like(z))).long()
    return u.clamp(0, camera.width - 1), v.clamp(0, camera.height - 1), inside
