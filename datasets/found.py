"""Photos and points that a file of poses belongs to, and its poses as ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from splat.datasets import photo
from splat.datasets.points import points_in_view
from splat.formats.point_cloud import read_points
from splat.scene import Points, View
from splat.system import foreign
from splat.system.foreign import Broken

Array = npt.NDArray[np.float64]

OPENGL = np.array([1.0, -1.0, -1.0])
"""Axes of cameras that look along -z with +y up (ARKit's, too), as ours."""


def folder_of(path: Path, images: str | None) -> Path:
    """Where the photos are: the folder named, `images/`, or beside the file of poses."""
    if images is not None and not (path / images).is_dir():
        raise FileNotFoundError(
            f"{path / images}: there is no such folder; expected the photos that the poses are of: "
            "name their folder with --images"
        )
    folder = path / (images or "images")
    return folder if folder.is_dir() else path


def world_to_camera(camera_to_world: Array, axes: Sequence[float] | Array = (1, 1, 1)) -> Array:
    """The 4x4 pose, of a matrix of at least 3x4 whose camera has these of our axes.

    A scale of the axes is dropped: it is that of the scene. Raises `Broken`.
    """
    values = camera_to_world[:3]
    if values.shape != (3, 4) or not np.isfinite(values).all():
        raise Broken("its pose is no matrix of 3x4 or 4x4 finite numbers; expected one")
    with np.errstate(all="ignore"):  # numbers near the largest ones are no rotation either
        turned = values[:, :3] / np.maximum(np.linalg.norm(values[:, :3], axis=0), 1e-12)
        if not np.abs(turned.T @ turned - np.eye(3)).max() <= 1e-2 or np.linalg.det(turned) < 0:
            raise Broken("its pose is no rotation; expected a rigid one")
        pose = np.eye(4)
        pose[:3, :3] = (turned * np.asarray(axes)).T
        pose[:3, 3] = -pose[:3, :3] @ values[:, 3]
    return pose


def name_of(image: Path, folder: Path) -> str:
    """The name of a photo: its path below a folder, or all of it where it lies elsewhere."""
    return plain(str(image.relative_to(folder) if image.is_relative_to(folder) else image))


def plain(name: str) -> str:
    """A `file_path` in the one spelling that names are compared in."""
    return PurePosixPath(name.replace("\\", "/")).as_posix()


def some(views: Sequence[View], missing: Sequence[str], file: Path, folder: Path) -> list[str]:
    """What to say of photos that are missing; raises FileNotFoundError where all of them are."""
    if not views:
        raise FileNotFoundError(
            f"{file}: none of the {len(missing)} photos that it has poses of is in {folder} (such "
            f"as {', '.join(missing[:1]) or 'none'}); expected them there: copy them, or name "
            "their folder with --images"
        )
    if not missing:
        return []
    return [
        f"{len(missing)} photos with a pose in {file.name} are missing in {folder.name}/ and were"
        f" skipped (the first is {missing[0]})"
    ]


def points_beside(path: Path, views: Sequence[View]) -> tuple[Points | None, list[str]]:
    """The points of the only .ply in a folder, where cameras see some, and what to say of it."""
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".ply")
    if len(files) != 1:
        return None, [f"{len(files)} .ply files lie there, none was read"] if files else []
    points = read_points(files[0])
    if any(bool(points_in_view(points, [view.camera]).any()) for view in views):
        return points, [f"the points are those of {files[0].name}"]
    return None, [f"no camera sees the points of {files[0].name}, which were left out"]


def array_of(file: Path) -> npt.NDArray[Any]:
    """The array of a .npy file; raises `Broken`."""
    with file.open("rb") as stream:
        return foreign.array(stream, foreign.file_size(file))


def photos_in(folder: Path) -> dict[str, Path]:
    """Photos of a folder by their name without its suffix."""
    found = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in photo.SUFFIXES)
    return {path.stem: path for path in found}
