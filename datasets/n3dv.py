"""Neural 3D Video, and other rigs in LLFF's layout: `poses_bounds.npy` beside `cam00/`, ..."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from splat.datasets.cameras import pinhole
from splat.datasets.found import Array, array_of, photos_in, world_to_camera
from splat.system.foreign import Broken, part, reading
from splat.types import SceneData, View

EXPECTS = "poses_bounds.npy and cam00/, cam01/, ... (Neural 3D Video)"
"""What `load` looks for."""
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
            f" {videos[0].stem}/images/0000.png and so on: take them out, for instance with"
            f" `ffmpeg -i {videos[0].name} {videos[0].stem}/images/%04d.png`"
        )
    with reading(file, "a row of 17 numbers for each camera: fetch the scene again"):
        rows = array_of(file)
        if rows.ndim != 2 or rows.shape[1] != 17 or len(rows) != len(folders):
            raise Broken(
                f"has an array of shape {rows.shape}; expected ({len(folders)}, 17), as there are"
                f" {len(folders)} folders of cameras"
            )
        poses = rows.astype(np.float64)[:, :15].reshape(-1, 3, 5)
    views = []
    for folder, pose in zip(folders, poses, strict=True):
        views += _views(path, folder, images, pose, file)
    train = tuple(view for view in views if not view.name.startswith(f"{folders[0].name}/"))
    test = tuple(view for view in views if view.name.startswith(f"{folders[0].name}/"))
    return SceneData(path, "n3dv", train, test, None)


def _views(path: Path, folder: Path, images: str | None, pose: Array, file: Path) -> list[View]:
    frames = folder / (images or "images")
    there = photos_in(frames if frames.is_dir() else folder)
    numbered = {int(found[-1]): image for stem, image in there.items() if (found := _digits(stem))}
    if not numbered:
        raise FileNotFoundError(
            f"{folder}: holds no numbered frames; expected {folder.name}/images/0000.png and so on"
        )
    # Frames that are numbered are of one rate, whose seconds nobody says.
    first, last = min(numbered), max(numbered)
    again = "a row of 17 numbers for each camera: fetch the scene again"
    with reading(file, again), part(f"the row of {folder.name}"):
        height, width, focal = pose[:, 4].tolist()
        turned = np.concatenate([pose[:, 1:2], pose[:, :1], -pose[:, 2:3], pose[:, 3:4]], 1)
        to_camera = world_to_camera(turned)
        sides = (round(width), round(height))
        views = []
        for number, image in sorted(numbered.items()):
            time = (number - first) / (last - first) if last > first else 0.0
            camera = pinhole(to_camera, (focal, focal), (width / 2, height / 2), sides, time)
            views.append(View(f"{folder.name}/{image.name}", camera, image))
    return views


def _digits(stem: str) -> list[str]:
    return re.findall(r"\d+", stem)
