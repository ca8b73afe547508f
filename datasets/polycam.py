"""Polycam's raw data (developer mode): `keyframes/` with photos, cameras and, of LiDAR, depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from splat.datasets import photo
from splat.datasets.cameras import pinhole
from splat.datasets.found import OPENGL, photos_in, some, world_to_camera
from splat.photos import pictures
from splat.scene import DepthFile, Points, SceneData, View
from splat.system.foreign import reading, record

EXPECTS = "keyframes/ (Polycam)"
"""What `load` looks for."""
METRES = 0.001
"""Of a number of a depth map."""
SURE = 255
"""Confidence of depth that is good."""
MOST_POINTS, MOST_MAPS = 150_000, 100
FARTHEST = 5.0
"""Metres up to which depth of a LiDAR is good."""


def load(path: Path, images: str | None = None) -> SceneData | None:
    """The keyframes of a capture, corrected ones where there are some; None: it is no capture.

    Poses are ARKit's, in metres with +y up; depth comes along as metric, and gives the points.
    """
    root = path / "keyframes"
    sources = [(root / f"{kind}images", root / f"{kind}cameras") for kind in ("corrected_", "")]
    found = [(a, b) for a, b in sources if b.is_dir() and any(b.glob("*.json"))]
    if not found:
        return None
    pictures, cameras = found[0]
    notes = []
    if pictures.name == "images":
        notes.append("there are no corrected poses; those of the walk itself were taken")
    folder = path / images if images is not None else pictures
    there = photos_in(folder) if folder.is_dir() else {}
    views, missing = [], []
    for file in sorted(cameras.glob("*.json")):
        if file.stem not in there:
            missing.append(file.stem)
            continue
        with reading(file, "a camera: export the capture again"):
            views.append(_view(file, there[file.stem], root))
    notes += some(views, missing, cameras, folder)
    points = _points(views, root)
    if points is not None:
        notes.append(f"{len(points.positions):,} points to start from were taken from its depth")
    return SceneData(path, "polycam", tuple(views), (), points, tuple(notes))


def _view(file: Path, image: Path, root: Path) -> View:
    entry = record(file)
    matrix = np.array([[entry.number(f"t_{i}{j}") for j in range(4)] for i in range(3)])
    focal, principal = ((entry.number(a), entry.number(b)) for a, b in (("fx", "fy"), ("cx", "cy")))
    stored = photo.size(image)
    size = int(entry.number("width", stored[0])), int(entry.number("height", stored[1]))
    camera = pinhole(world_to_camera(matrix, OPENGL), focal, principal, size)
    depth = root / "depth" / f"{file.stem}.png"
    known = DepthFile(depth, "metric", METRES) if depth.is_file() else None
    return View(image.name, camera, image, depth=known)


def _points(views: Sequence[View], root: Path) -> Points | None:
    """What the depth maps show where they are sure of it, in the colours of the photos."""
    having = [view for view in views if view.depth is not None]
    having = having[:: max(1, len(having) // MOST_MAPS)]
    found = [_seen(view, root, MOST_POINTS // len(having)) for view in having]
    if not found:
        return None
    positions, colors = (np.concatenate(each) for each in zip(*found, strict=True))
    if len(positions) == 0:
        return None
    return Points.of_arrays(positions, colors)


def _seen(
    view: View, root: Path, most: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    assert view.depth is not None
    depth = pictures.read(view.depth.path)
    small = pictures.read(view.image, cv2.IMREAD_REDUCED_COLOR_4)
    if depth.ndim != 2:
        raise ValueError(
            f"{view.depth.path}: has colours; expected depth, grey of 16 bits: export the capture"
            " again"
        )
    metres = depth.astype(np.float64) * METRES
    good = (metres > 0) & (metres <= FARTHEST)
    confidence = root / "confidence" / view.depth.path.name
    if confidence.is_file():
        sure = pictures.read(confidence, cv2.IMREAD_GRAYSCALE)
        if sure.shape == depth.shape:
            good &= sure == SURE
    rows, columns = np.nonzero(good)
    step = max(1, len(rows) // most)
    rows, columns = rows[::step], columns[::step]
    height, width = depth.shape
    K, pose = view.camera.K.double().numpy(), view.camera.world_to_camera.double().numpy()
    z = metres[rows, columns]
    u = (columns + 0.5) / width * view.camera.width
    v = (rows + 0.5) / height * view.camera.height
    local = np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], 1)
    shown = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)[:, :, ::-1]
    colors = np.asarray(shown[rows, columns] / 255, np.float32)
    return (local - pose[:3, 3]) @ pose[:3, :3], colors
