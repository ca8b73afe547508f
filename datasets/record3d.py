"""Record3D: an .r3d file, unpacked: `metadata` beside `rgbd/0.jpg`, `rgbd/1.jpg`, ... (ARKit)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from splat.datasets import photo
from splat.datasets.cameras import pinhole, rotation
from splat.datasets.found import OPENGL, photos_in, points_beside, some, world_to_camera
from splat.scene import SceneData, View
from splat.system.foreign import Record, part, reading, record

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
    folder = path / (images or "rgbd")
    there = photos_in(folder) if folder.is_dir() else {}
    views, missing = [], []
    with reading(file, "the metadata of Record3D: export the capture as .r3d and unpack it again"):
        meta = record(file, "`poses` of 7 numbers each and a `K` of 9")
        poses, K = meta.numbers("poses", -1, 7), meta.numbers("K", 9).reshape(3, 3).T
        own = _own_intrinsics(meta, len(poses))
        for i, pose in enumerate(poses):
            image = there.get(str(i))
            if image is None:
                missing.append(str(i))
                continue
            with part(f"frame {i}"):
                views.append(_view(image, pose, K if own is None else own[i], meta))
        notes = some(views, missing, file, folder)
    points, said = points_beside(path, views)
    ordered = tuple(sorted(views, key=lambda view: view.name))
    return SceneData(path, "record3d", ordered, (), points, (*notes, *said))


def _own_intrinsics(meta: Record, count: int) -> list[Array] | None:
    """What later versions write for each frame: fx, fy, cx, cy; None where they do not."""
    if not meta.get("perFrameIntrinsicCoeffs"):
        return None
    given = meta.numbers("perFrameIntrinsicCoeffs", -1, 4)
    if len(given) != count:
        return None
    return [np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]) for fx, fy, cx, cy in given]


def _view(image: Path, pose: Array, K: Array, meta: Record) -> View:
    stored = photo.size(image)
    size = int(meta.number("w", stored[0])), int(meta.number("h", stored[1]))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(pose[[3, 0, 1, 2]])
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
