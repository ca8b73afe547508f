"""The district on disk: a COLMAP folder as any reader takes it, depth beside it on request."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from splat.datasets.colmap_model import MODELS
from splat.datasets.demo.files import user_cache
from splat.datasets.drafts import drafted, vacant
from splat.types import Camera
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
_POINT = np.dtype(
    [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")]
)


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
    folder: Path | str,
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
    """Draw the district into a new folder, which appears when it is complete.

    `images/view_0000.jpg` (JPEG of `quality`, 1 to 100) and `sparse/0/` are what COLMAP writes:
    exact poses, and points on surfaces that the training photos show, as wrong as matching leaves
    them, evenly over the surfaces as far as a photo goes. With `depth`,
    `truth/depth/view_0000.npy` holds camera z through the pixels' centres, metres, float32,
    infinite in the sky. `blocks` along x and y; see `cameras` for `street`.
    """
    folder, district = Path(folder), District(*blocks, seed)
    stand = cameras(district, views, width, height, street)
    shoot_points = _quotas(views, points, width * height)
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; expected from 1 to 100, JPEG's scale")
    vacant(folder, "the generated district")
    with drafted(folder) as draft:
        shoot = _Shoot(draft, district, shoot_points, quality, depth)
        cloud = _write_views(shoot, stand)
        _write_model(draft / "sparse" / "0", stand, cloud)
    return folder


def cached(folder: Path | str | None = None, **arguments: Any) -> Path:
    """A folder below `folder` with the scene, drawn when it is first asked for (see `write`).

    `folder` defaults to `splat` in the user's cache. Another version of the code, or other
    arguments, make another scene; processes that race for the same one agree on the first.
    """
    root = Path(folder) if folder is not None else user_cache()
    scene = root / f"district-{_fingerprint(arguments)}"
    if not scene.is_dir():
        try:
            write(scene, **arguments)
        except OSError:
            # Another process may have finished it in the meantime.
            if not scene.is_dir():
                raise
    return scene


def name_of(index: int) -> str:
    """Of the photo of a view."""
    return f"view_{index:04d}.jpg"


def _fingerprint(arguments: dict[str, Any]) -> str:
    """Changes with the arguments and with the code that draws the district."""
    digest = hashlib.blake2b(repr(sorted(arguments.items())).encode(), digest_size=6)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


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
    """All photos; rows of `_POINT`."""
    for part in ("images", *(("truth/depth",) if shoot.depth else ())):
        (shoot.folder / part).mkdir(parents=True)
    # Two threads that both find no light would both look for it.
    lit(shoot.district)
    # A view is drawn by one thread from start to end: their number does not change a byte.
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(stand)))) as pool:
        rows = np.concatenate(list(pool.map(lambda camera: _write_view(shoot, camera), stand)))
    rows["id"] = np.arange(1, len(rows) + 1)
    return rows


def _write_view(shoot: _Shoot, camera: Camera) -> np.ndarray:
    view, name = render(camera, shoot.district), name_of(camera.index)
    pixels = np.ascontiguousarray(view.image.numpy()[..., ::-1])
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, shoot.quality])
    assert done
    (shoot.folder / "images" / name).write_bytes(data.tobytes())
    if shoot.depth:
        file = shoot.folder / "truth" / "depth" / f"{Path(name).stem}.npy"
        np.save(file, depth(camera, shoot.district).numpy())
    return _triangulated(shoot, camera, view)


def _triangulated(shoot: _Shoot, camera: Camera, view: DistrictView) -> np.ndarray:
    """Points that this photo gives, each surface as densely as the others: rows of `_POINT`."""
    chance = np.random.default_rng([shoot.district.seed, 1, camera.index])
    place, pose = view.points.numpy().reshape(-1, 3), camera.world_to_camera.numpy()
    count, reach = shoot.quotas[camera.index], max(shoot.district.half)
    with np.errstate(invalid="ignore"):
        far = place @ pose[2, :3] + pose[2, 3]
    known = np.flatnonzero(np.isfinite(far) & (far < FARTHEST))
    rows = np.zeros(min(count, len(known)), _POINT)
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


def _write_model(folder: Path, stand: Sequence[Camera], rows: np.ndarray) -> None:
    """COLMAP's three binary files: one camera, the poses, points without tracks."""
    folder.mkdir(parents=True)
    K, width, height = stand[0].K.double(), stand[0].width, stand[0].height
    focals = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    model = list(MODELS).index("PINHOLE")
    camera = struct.pack("<QiiQQ4d", 1, 1, model, width, height, *focals)
    (folder / "cameras.bin").write_bytes(camera)
    images = [struct.pack("<Q", len(stand))]
    for view in stand:
        pose = view.world_to_camera.double().numpy()
        images.append(struct.pack("<i7di", view.index + 1, *quaternion(pose), *pose[:3, 3], 1))
        images.append(name_of(view.index).encode() + b"\0" + struct.pack("<Q", 0))
    (folder / "images.bin").write_bytes(b"".join(images))
    (folder / "points3D.bin").write_bytes(struct.pack("<Q", len(rows)) + rows.tobytes())


def quaternion(pose: np.ndarray) -> tuple[float, float, float, float]:
    """(w, x, y, z), w >= 0, of a rotation: a column of 4 q q^T, of which the longest is exact."""
    (a, b, c), (d, e, f), (g, h, i) = pose[:3, :3]
    outer = np.array([
        [1 + a + e + i, h - f, c - g, d - b],
        [h - f, 1 + a - e - i, b + d, c + g],
        [c - g, b + d, 1 - a + e - i, f + h],
        [d - b, c + g, f + h, 1 - a - e + i],
    ])  # fmt: skip
    column = outer[:, int(outer.diagonal().argmax())]
    w, x, y, z = column / np.linalg.norm(column) * (-1 if column[0] < 0 else 1)
    return float(w), float(x), float(y), float(z)
