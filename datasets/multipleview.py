"""4DGaussians' multipleview: a folder of frames for each camera, and a COLMAP model, `sparse_`."""

from __future__ import annotations

from pathlib import Path

from splat.datasets import colmap, rig
from splat.datasets.colmap_model import holds_model
from splat.formats.point_cloud import read_points
from splat.scene import SceneData

EXPECTS = "sparse_/ and cam01/, cam02/, ... (4DGaussians' multipleview)"
"""What `load` looks for."""
MODEL, POINTS = "sparse_", "points3D_multipleview.ply"


def load(path: Path, images: str | None = None) -> SceneData | None:
    """Every frame of every camera, or None where there is no such model.

    Frames are `camNN/frame_00001.jpg` and so on. COLMAP has registered one photo of each camera,
    in the folder of the camera, called as it is, or of the same number (`image1.jpg` is that of
    `cam01`). `images` names a folder that holds those of the cameras.
    """
    model = path / MODEL
    if not holds_model(model):
        return None
    root = path if images is None else path / images
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root}: there is no such folder; expected the folders of the cameras in it: name"
            " theirs with --images"
        )
    folders = sorted(each for each in root.iterdir() if each.is_dir() and each != model)
    frames = {each.name: own for each in folders if (own := rig.numbered(each))}
    if not frames:
        raise FileNotFoundError(
            f"{root}: holds no folder of frames; expected cam01/frame_00001.jpg and so on: take the"
            " videos apart, or name the folder of the cameras with --images"
        )
    posed = colmap.of_cameras(model, frames)
    views = rig.views(frames, posed, lambda camera, image: f"{camera}/{image.name}")
    points = path / POINTS
    found = read_points(points) if points.is_file() else colmap.points_of(model)
    return SceneData(path, "multipleview", views, (), found, tuple(rig.told(frames, posed)))
