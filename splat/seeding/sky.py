"""Points on a far shell behind the scene, for the sky and what else is too far to match.

Structure from motion gives no points there. Gaussians that are to show it then come from nearby,
as floaters before the cameras; a shell in the colours of the photos leaves them nothing to show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import max_pool2d

from splat.types import Batch, Camera, Points

COUNT = 20_000
"""Default number of points of a shell; no more than a fifth of the cap."""
MOST_VIEWS = 48
"""Views to look at, evenly spread."""
CELLS = 24
"""Cells along the longer side of a photo: one with a point of the scene, and those about it, are
not sky."""
CLEAR_SHARE = 0.8
"""Share of the views of a direction in which it must be clear of points."""
AGREE = 0.12
"""Mean difference of a colour to the views' median, in [0, 1], above which a direction does not
look alike from everywhere, as what is far away does."""
NEAREST = 10.0
"""Least radius of the shell, scene extents."""
BEYOND = 1.2
"""Radius of the shell over the distance of all but the last hundredth of the points."""
FAR, FAR_SHARE = 4.0, 0.02
"""Distance of a far point from the cameras' middle, in extents and in distances of the median
point (a room seen from its middle is many extents wide), and the share of such points from which a
scene may be unbounded."""
EMPTY_SHARE = 0.1
"""Share of what cameras look at that must, too, be clear of points and above the horizon."""
HORIZON = 0.1
"""Sine of the elevation of the horizon."""
_LOOKED_AT = 4096
"""Directions that a scene is judged by, over the whole sphere."""
_MOST = 1_000_000
"""Directions over the whole sphere, of which those near one that was found are looked at."""


@dataclass(frozen=True)
class SkyEvidence:
    """Evidence of a sky in cameras and points."""

    far: float
    """Share of the points that are far away."""
    empty: float
    """Share of the directions looked at that are clear of points and above the horizon."""

    @property
    def unbounded(self) -> bool:
        """Whether the scene has a sky, or the like."""
        return self.far >= FAR_SHARE and self.empty >= EMPTY_SHARE

    def text(self) -> str:
        """The numbers, for people."""
        return (
            f"{self.far:.0%} of the points are far away, and {self.empty:.0%} of what is looked at"
            " is above the horizon and has none"
        )


def sky_evidence(cameras: Sequence[Camera], positions: Float[Tensor, "n 3"]) -> SkyEvidence:
    """Evidence of a sky, from cameras and points in the frame of training."""
    if len(positions) == 0:
        return SkyEvidence(0.0, 0.0)
    positions = _some(positions)
    directions = _sphere(_LOOKED_AT)
    seen, clear = _counted(cameras, positions, directions)
    looked = seen > 0
    down = torch.stack([camera.world_to_camera[1, :3].double() for camera in cameras]).mean(0)
    above = directions @ -down / down.norm().clamp_min(1e-9) >= HORIZON
    empty = looked & above & (clear >= CLEAR_SHARE * seen)
    middle = torch.stack([camera.centre.double() for camera in cameras]).mean(0)
    away = (positions.double() - middle).norm(dim=1)
    return SkyEvidence(
        far=float((away > FAR * max(1.0, float(away.median()))).double().mean()),
        empty=float(empty.double().sum() / looked.double().sum().clamp_min(1)),
    )


def shell(photos: Sequence[Batch], positions: Float[Tensor, "n 3"], count: int) -> Points | None:
    """About `count` points of a far sphere, frame of training, where nothing else is known.

    They lie in directions that two photos or more show, clear of points and alike in colour, which
    is their median. None where there is no such direction.
    """
    cameras, positions = [photo.camera for photo in photos], _some(positions)
    rough = _sphere(_LOOKED_AT)
    good = _colors(photos, positions, rough)[1]
    share = float(good.double().mean())
    if share == 0:
        return None
    directions = _sphere(min(_MOST, max(_LOOKED_AT, math.ceil(count / share))))
    directions = directions[_beside(directions, rough[good])]
    colors, good = _colors(photos, positions, directions)
    middle = torch.stack([camera.centre.double() for camera in cameras]).mean(0)
    radius = NEAREST
    if len(positions):
        away = (positions.double() - middle).norm(dim=1)
        radius = max(radius, BEYOND * float(away.quantile(0.99)))
    places = middle + radius * directions[good]
    return Points(places.float(), colors[good].float())


def _some(positions: Float[Tensor, "n 3"]) -> Float[Tensor, "m 3"]:
    """At most some 200,000 of the points, which fill every cell that all of them fill."""
    return positions[:: max(1, len(positions) // 200_000)]


def _sphere(count: int) -> Float[Tensor, "k 3"]:
    """Directions evenly over the sphere, on a spiral; float64."""
    i = torch.arange(count, dtype=torch.float64) + 0.5
    height = 1 - 2 * i / count
    angle = math.pi * (1 + math.sqrt(5)) * i
    across = (1 - height**2).sqrt()
    return torch.stack([across * angle.cos(), across * angle.sin(), height], 1)


def _beside(directions: Float[Tensor, "k 3"], good: Float[Tensor, "g 3"]) -> Bool[Tensor, "k"]:
    """Which directions are within a step of `_LOOKED_AT` of some that were found."""
    step = 1.2 * math.sqrt(4 * math.pi / _LOOKED_AT)
    distances, _ = cKDTree(good.numpy()).query(directions.numpy(), distance_upper_bound=step)
    return torch.from_numpy(distances <= step)


def _counted(
    cameras: Sequence[Camera], positions: Float[Tensor, "n 3"], directions: Float[Tensor, "k 3"]
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
    """In how many views each direction is, and in how many of these clear of points."""
    seen, clear = torch.zeros(2, len(directions), dtype=torch.float64)
    for camera in cameras:
        inside, u, v = _at_infinity(camera, directions)
        seen += inside
        clear += inside & ~_occupied(camera, positions)[_cell(camera, v), _cell(camera, u)]
    return seen, clear


def _colors(
    photos: Sequence[Batch], positions: Float[Tensor, "n 3"], directions: Float[Tensor, "k 3"]
) -> tuple[Float[Tensor, "k 3"], Bool[Tensor, "k"]]:
    """Median colour of directions, and which of them are far, clear and seen twice or more."""
    colors = torch.full((len(photos), len(directions), 3), torch.nan)
    seen, clear = torch.zeros(2, len(directions))
    for i, photo in enumerate(photos):
        camera = photo.camera
        inside, u, v = _at_infinity(camera, directions)
        row, column = v.long(), u.long()
        if photo.mask is not None:
            inside &= photo.mask[row, column] != 0
        free = inside & ~_occupied(camera, positions)[_cell(camera, v), _cell(camera, u)]
        seen += inside
        clear += free
        shown = photo.pixels[row, column].float() / 255
        colors[i] = shown.where(free[:, None], torch.nan)
    median = colors.nanmedian(0).values
    apart = (colors - median).abs().amax(2).nanmean(0)
    return median, (clear >= 2) & (clear >= CLEAR_SHARE * seen) & (apart <= AGREE)


def _at_infinity(
    camera: Camera, directions: Float[Tensor, "k 3"]
) -> tuple[Bool[Tensor, "k"], Float[Tensor, "k"], Float[Tensor, "k"]]:
    """Which directions are in a picture, and where, pixels; 0 for those that are not."""
    K = camera.K.double()
    x, y, z = (directions @ camera.world_to_camera[:3, :3].double().T).unbind(1)
    z = z.where(z > 0, torch.nan)
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    return inside, u.where(inside, 0), v.where(inside, 0)


def _occupied(camera: Camera, positions: Float[Tensor, "n 3"]) -> Bool[Tensor, "c d"]:
    """Cells of a picture in which, or next to which, a point is."""
    pose, K = camera.world_to_camera.double(), camera.K.double()
    x, y, z = (positions.double() @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    z = z.where(z > 0, torch.nan)
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    cells = torch.zeros(CELLS + 1, CELLS + 1)
    cells[_cell(camera, v[inside]), _cell(camera, u[inside])] = 1
    return max_pool2d(cells[None, None], 3, 1, 1)[0, 0] > 0


def _cell(camera: Camera, pixels: Float[Tensor, "k"]) -> Tensor:
    return (pixels * (CELLS / max(camera.width, camera.height))).long()
