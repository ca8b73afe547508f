"""Record3D: an .r3d file, unpacked: `metadata` beside `rgbd/0.jpg`, `rgbd/1.jpg`, ... (ARKit)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from splat.datasets import photo
from splat.datasets.cameras import pinhole
from splat.datasets.found import OPENGL, photos_in, points_beside, some, world_to_camera
from splat.math import rotation_matrices
from splat.types import SceneData, View

EXPECTS = "metadata and rgbd/ (Record3D)"
"""What `load` looks for."""
Array = npt.NDArray[np.float64]

NEAR_MIDDLE = 0.1
"""Share of a side by which the principal point may lie off its middle, to be believed."""


def load(path: Path, images: str | None = None) -> SceneData | None:
    """The frames with a pose, or None where there is no such file.

    Poses are ARKit's, in metres with +y up. Depth is left out: its compression is Apple's own.
    """
    file = path / "metadata"
    if not file.is_file():
        return None
    try:
        meta = json.loads(file.read_text("utf-8"))
        poses = np.array(meta["poses"], np.float64).reshape(-1, 7)
        K = np.array(meta["K"], np.float64).reshape(3, 3).T
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise ValueError(
            f"{file}: has no K of 9 numbers and poses of 7 each; expected the metadata of Record3D:"
            " export the capture as .r3d again and unpack it"
        ) from None
    folder = path / (images or "rgbd")
    there = photos_in(folder) if folder.is_dir() else {}
    own = _own_intrinsics(meta, len(poses))
    views, missing = [], []
    for i, pose in enumerate(poses):
        image = there.get(str(i))
        if image is None:
            missing.append(str(i))
            continue
        try:
            views.append(_view(image, pose, K if own is None else own[i], meta))
        except ValueError as error:
            raise ValueError(f"{file}: frame {i}: {error}") from None
    notes = some(views, missing, file, folder)
    points, said = points_beside(path, views)
    ordered = tuple(sorted(views, key=lambda view: view.name))
    return SceneData(path, "record3d", ordered, (), points, (*notes, *said))


def _own_intrinsics(meta: Any, count: int) -> list[Array] | None:
    """What later versions write for each frame: fx, fy, cx, cy; None where they do not."""
    given = meta.get("perFrameIntrinsicCoeffs")
    if not given or len(given) != count:
        return None
    return [np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]) for fx, fy, cx, cy in given]


def _view(image: Path, pose: Array, K: Array, meta: Any) -> View:
    stored = photo.size(image)
    size = int(meta.get("w", stored[0])), int(meta.get("h", stored[1]))
    quaternion = torch.from_numpy(pose[[3, 0, 1, 2]])[None]
    if not float(quaternion.norm()) > 0:
        raise ValueError("its rotation is a quaternion of zeros or NaN; expected a unit one")
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrices(quaternion)[0].numpy()
    matrix[:3, 3] = pose[4:]
    focal = float(K[0, 0]), float(K[1, 1])
    camera = pinhole(world_to_camera(matrix, OPENGL), focal, _principal(K, size), size)
    return View(image.name, camera, image)


def _principal(K: Array, size: tuple[int, int]) -> tuple[float, float]:
    """As written; of upright videos it is that of the sensor, which lies on its side."""
    cx, cy = float(K[0, 2]), float(K[1, 2])
    for given in ((cx, cy), (cy, cx)):
        if all(
            abs(c - side / 2) <= NEAR_MIDDLE * side for c, side in zip(given, size, strict=True)
        ):
            return given
    return size[0] / 2, size[1] / 2
