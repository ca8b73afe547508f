"""FreeTimeGsVanilla: frames of all cameras in `images/`, a COLMAP model, points of each instant."""

from __future__ import annotations

import re
from pathlib import Path

from splat.datasets import colmap, rig
from splat.datasets.colmap_model import holds_model, poses
from splat.datasets.found import photos_in
from splat.scene import SceneData

EXPECTS = "images/cam01_frame000000.jpg, ... and sparse/0 (FreeTimeGsVanilla)"
"""What `load` looks for."""
_FRAME = re.compile(r"(.+)_frame(\d+)$")
_POINTS = re.compile(r"points3d_frame(\d+)$")


def load(path: Path, images: str | None = None) -> SceneData | None:
    """Every frame of every camera, or None where the folder is none of several cameras that stand.

    Photos are `images/CAMERA_frameNNNNNN.jpg`, or `images/CAMERA/NNNNNN.jpg`; of each camera COLMAP
    has registered one, or, where there are points of instants beside them
    (`points3d_frameNNNNNN.npy`, `colors_frameNNNNNN.npy`), also more, of which the first counts.
    """
    folder = path / (images or "images")
    model = next((each for each in colmap.folders(path) if holds_model(each)), None)
    if model is None or not folder.is_dir():
        return None
    instants = _instants(path)
    frames = _flat(folder)
    nested = not frames and bool(instants)
    if nested:
        inner = sorted(each for each in folder.iterdir() if each.is_dir())
        frames = {each.name: own for each in inner if (own := rig.numbered(each))}
    if len(frames) < 2 or max(map(len, frames.values())) < 2:
        return None
    if not instants and not _one_each(model, frames):
        return None  # COLMAP's own: photos of cameras that move
    posed = colmap.of_cameras(model, frames)
    views = rig.views(
        frames, posed, lambda cam, image: f"{cam}/{image.name}" if nested else image.name
    )
    points, notes = rig.points_of_instants(instants, *rig.span(frames), rig.points_of_array)
    if points is None:
        points = colmap.points_of(model)
    return SceneData(path, "freetime", views, (), points, (*rig.told(frames, posed), *notes))


def _flat(folder: Path) -> dict[str, dict[int, Path]]:
    frames: dict[str, dict[int, Path]] = {}
    for stem, image in photos_in(folder).items():
        if found := _FRAME.match(stem):
            frames.setdefault(found[1], {})[int(found[2])] = image
    return {camera: dict(sorted(own.items())) for camera, own in sorted(frames.items())}


def _instants(path: Path) -> dict[int, Path]:
    """Files of points by the number of their frame."""
    for folder in (path, path / "triangulation"):
        files = sorted(folder.glob("points3d_frame*.npy")) if folder.is_dir() else []
        if found := {int(m[1]): file for file in files if (m := _POINTS.match(file.stem))}:
            return found
    return {}


def _one_each(model: Path, frames: rig.Frames) -> bool:
    """Whether a model has one photo of each camera and no more."""
    registered = [pose.name for pose in poses(model)]
    return len(registered) <= len(frames) and len(rig.names_of(frames, registered)) == len(
        registered
    )
