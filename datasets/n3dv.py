"""Neural 3D Video, and other rigs in LLFF's layout: `poses_bounds.npy` beside `cam00/`, ..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from splat.datasets import rig
from splat.datasets.cameras import pinhole
from splat.datasets.found import Array, array_of, world_to_camera
from splat.scene import SceneData, View
from splat.system.foreign import Broken, part, reading

EXPECTS = "poses_bounds.npy and cam00/, cam01/, ... (Neural 3D Video)"
"""What `load` looks for."""
_AGAIN = "a row of 17 numbers for each camera: fetch the scene again"
VIDEOS = (".mp4", ".mov", ".avi", ".mkv")


def load(path: Path, images: str | None = None) -> SceneData | None:
    """Every frame of every camera, or None where there are no poses with cameras.

    A row of `poses_bounds.npy` [n, 17] is a pose of 3 x 5 (camera to world, the camera's axes down,
    right and backwards; then height, width and focal length) and two bounds, one a camera in the
    order of their names. Frames lie in `camNN/images/` or `camNN/`, numbered; the first camera is
    held out, as the authors do.
    """
    file = path / "poses_bounds.npy"
    folders = sorted(each for each in path.glob("cam*") if each.is_dir())
    videos = sorted(each for each in path.glob("cam*") if each.suffix.lower() in VIDEOS)
    if not file.is_file() or not (folders or videos):
        return None
    if not folders:
        raise ValueError(
            f"{path}: has {len(videos)} videos and no frames of them; expected"
            f" {videos[0].stem}/images/0000.png and so on: make a clip of them with"
            f" `splat prep {path} -o SCENE`"
        )
    posed = of_cameras(file, [folder.name for folder in folders])
    frames = {folder.name: _frames(folder, images) for folder in folders}
    views = rig.views(frames, posed, lambda camera, image: f"{camera}/{image.name}")
    held_out = f"{folders[0].name}/"
    train = tuple(view for view in views if not view.name.startswith(held_out))
    test = tuple(view for view in views if view.name.startswith(held_out))
    return SceneData(path, "n3dv", train, test, None, tuple(rig.told(frames, posed)))


def of_cameras(file: Path, cameras: Sequence[str]) -> dict[str, rig.Posed]:
    """What makes views, for each camera, by the rows of `poses_bounds.npy` in the same order."""
    with reading(file, _AGAIN):
        rows = array_of(file)
        if rows.ndim != 2 or rows.shape[1] != 17 or len(rows) != len(cameras):
            raise Broken(
                f"has an array of shape {rows.shape}; expected ({len(cameras)}, 17), as there are"
                f" {len(cameras)} cameras"
            )
        poses = rows.astype(np.float64)[:, :15].reshape(-1, 3, 5)
    posed = {}
    for camera, pose in zip(cameras, poses, strict=True):
        with reading(file, _AGAIN), part(f"the row of {camera}"):
            posed[camera] = _posed(pose)
    return posed


def _frames(folder: Path, images: str | None) -> dict[int, Path]:
    inner = folder / (images or "images")
    numbered = rig.numbered(inner if inner.is_dir() else folder)
    if not numbered:
        raise FileNotFoundError(
            f"{folder}: holds no numbered frames; expected {folder.name}/images/0000.png and so on"
        )
    return numbered


def _posed(pose: Array) -> rig.Posed:
    """What makes views of a camera, by its 3 x 5 numbers; raises `Broken`."""
    height, width, focal = pose[:, 4].tolist()
    turned = np.concatenate([pose[:, 1:2], pose[:, :1], -pose[:, 2:3], pose[:, 3:4]], 1)
    sides, middle = (round(width), round(height)), (width / 2, height / 2)
    camera = pinhole(world_to_camera(turned), (focal, focal), middle, sides)
    return lambda name, image: (View(name, camera, image),)
