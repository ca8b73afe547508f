"""The district on disk: a COLMAP folder as any reader takes it, depth beside it on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from splat.datasets.colmap_model import POINT
from splat.datasets.tracer import folders
from splat.datasets.tracer.folders import drafted, save
from splat.types import Camera
from worlds import HERE
from worlds.command import Folder
from worlds.district.layout import District
from worlds.district.light import lit
from worlds.district.picture import DistrictView, depth, render
from worlds.district.poses import cameras

TEST_EVERY = 8
"""Readers hold out the first photo and every so many after it; points come from the others."""
NOISE = 0.4
"""Standard deviation of a point's error: so many pixels of the photo that it was seen in."""
FARTHEST = 800.0
"""Distance beyond which nothing is matched: the haze begins to hide it, metres."""


@dataclass(frozen=True)
class _Shoot:
    """What all photos of one folder have in common."""

    folder: Path
    district: District
    quotas: tuple[int, ...]
    """Points that each photo gives."""
    quality: int
    depth: bool


def write(
    folder: Folder,
    *,
    views: int = 300,
    width: int = 640,
    height: int = 480,
    blocks: tuple[int, int] = (6, 5),
    points: int = 200_000,
    seed: int = 0,
    street: float = 0.2,
    quality: int = 95,
    depth: bool = False,
) -> Path:
    """Draw the generated district into a new folder, which appears when it is complete.

    `images/view_0000.jpg` and `sparse/0/` are what COLMAP writes: exact poses, and points on
    surfaces that the training photos show, as wrong as matching leaves them, evenly over the
    surfaces as far as a photo goes.

    Args:
        folder: Where to write; it must not exist.
        views: Photos.
        width: Of a photo, pixels.
        height: Of a photo, pixels.
        blocks: Blocks of houses along x and y, 53 and 43 m each with their streets.
        points: Of the point cloud.
        seed: Of all that is chance.
        street: Share of the photos that are taken from the streets, the others from the air.
        quality: Of the JPEGs, 1 to 100.
        depth: Write `truth/depth/view_0000.npy`, too: camera z through the pixels' centres, metres,
            float32, infinite in the sky.
    """
    district = District(*blocks, seed)
    stand = cameras(district, views, width, height, street)
    quotas = _quotas(views, points, width * height)
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; expected from 1 to 100, JPEG's scale")
    with drafted(folder, "the generated district") as draft:
        shoot = _Shoot(draft, district, quotas, quality, depth)
        cloud = _write_views(shoot, stand)
        folders.write_model(draft / "sparse" / "0", stand, cloud, name_of)
    return folder


def cached(folder: Path | str | None = None, **arguments: Any) -> Path:
    """A folder below `folder` with the scene, drawn when first asked for (see `folders.cached`)."""
    code = [HERE, HERE / "district"]
    return folders.cached(folder, "district", partial(write, **arguments), code)


def name_of(index: int) -> str:
    """Of the photo of a view."""
    return f"view_{index:04d}.jpg"


def _quotas(views: int, points: int, pixels: int) -> tuple[int, ...]:
    """How many points each photo gives: none those that are held out."""
    training = [index for index in range(views) if index % TEST_EVERY]
    if not training:
        raise ValueError(f"views is {views}; expected at least 2, for the first is held out")
    # No more than half the pixels: some of them show the sky.
    most = len(training) * (pixels // 2)
    if not 1 <= points <= most:
        raise ValueError(
            f"points is {points}; expected from 1 to {most}, half the pixels of the "
            f"{len(training)} training photos"
        )
    quotas = [0] * views
    for order, index in enumerate(training):
        first, after = (points * k // len(training) for k in (order, order + 1))
        quotas[index] = after - first
    return tuple(quotas)


def _write_views(shoot: _Shoot, stand: Sequence[Camera]) -> np.ndarray:
    """All photos; rows of `POINT`."""
    folders.make(shoot.folder, "images", *["truth/depth"] * shoot.depth)
    # Two threads that both find no light would both look for it.
    lit(shoot.district)
    return np.concatenate(folders.each(stand, lambda camera: _write_view(shoot, camera)))


def _write_view(shoot: _Shoot, camera: Camera) -> np.ndarray:
    view, name = render(camera, shoot.district), name_of(camera.index)
    save(shoot.folder / "images" / name, view.image.numpy(), shoot.quality)
    if shoot.depth:
        file = shoot.folder / "truth" / "depth" / f"{Path(name).stem}.npy"
        np.save(file, depth(camera, shoot.district).numpy())
    return _triangulated(shoot, camera, view)


def _triangulated(shoot: _Shoot, camera: Camera, view: DistrictView) -> np.ndarray:
    """Points that this photo gives, each surface as densely as the others: rows of `POINT`."""
    chance = np.random.default_rng([shoot.district.seed, 1, camera.index])
    place, pose = view.points.numpy().reshape(-1, 3), camera.world_to_camera.numpy()
    count, reach = shoot.quotas[camera.index], max(shoot.district.half)
    with np.errstate(invalid="ignore"):
        far = place @ pose[2, :3] + pose[2, 3]
    known = np.flatnonzero(np.isfinite(far) & (far < FARTHEST))
    rows = np.zeros(min(count, len(known)), POINT)
    if not len(rows):
        return rows
    # What is twice as far has a quarter of the pixels for the same surface.
    weights = np.minimum(far[known], reach).astype(np.float64) ** 2
    chosen = chance.choice(known, len(rows), replace=False, p=weights / weights.sum())
    error = NOISE * far[chosen] / float(camera.K[0, 0])
    rows["xyz"] = place[chosen] + chance.normal(size=(len(rows), 3)) * error[:, None]
    rows["rgb"] = view.image.numpy().reshape(-1, 3)[chosen]
    rows["error"] = NOISE
    return rows
