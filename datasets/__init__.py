"""Datasets: one format a file, each `load(path, images) -> SceneData | None`."""

from __future__ import annotations

from pathlib import Path

from splat.datasets import (
    blender,
    colmap,
    metashape,
    nerfstudio,
    polycam,
    reality,
    record3d,
)
from splat.datasets.guides import with_depths, with_normals
from splat.datasets.masks import with_masks
from splat.datasets.photo import fitted
from splat.datasets.points import cleaned, points_in_view
from splat.datasets.split import split
from splat.types import SceneData

__all__ = ["load", "points_in_view"]

_READERS = (
    *(colmap.load, nerfstudio.load, blender.load),
    *(metashape.load, reality.load, polycam.load, record3d.load),
)


def load(
    path: Path | str,
    *,
    images: str | None = None,
    masks: str = "auto",
    eval: str = "auto",
    depths: str = "auto",
    normals: str = "auto",
    depth_kind: str = "auto",
) -> SceneData:
    """The posed photographs in a folder, of whichever format; nothing is decoded.

    `images` names another folder of photos (such as `images_4`), `masks` is `auto`, `none` or a
    folder, `eval` is `auto`, `all`, `none`, a number or names (see `splat.datasets.split`);
    `depths` and `normals` are as `masks`, `depth_kind` is what depths are if not what their folder
    says (see `splat.datasets.guides`).
    Cameras are in the frame of the input, of the size of their photos.
    """
    path = Path(path)
    scene = _read(path, images)
    if len({view.image for view in (*scene.train, *scene.test)}) < 2:
        raise ValueError(
            f"{path}: holds one posed photo only; expected at least 2, from different places: "
            "add photos and pose them"
        )
    scene = with_masks(fitted(scene), masks)
    scene = with_normals(with_depths(scene, depths, depth_kind), normals)
    return split(cleaned(scene), eval)


def _read(path: Path, images: str | None) -> SceneData:
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: does not exist; expected the folder of a scene: check the spelling"
        )
    if not path.is_dir():
        raise NotADirectoryError(
            f"{path}: is a file; expected the folder of a scene: give {path.parent}"
        )
    for reader in _READERS:
        if (scene := reader(path, images)) is not None:
            return scene
    state = "is not a known scene" if any(path.iterdir()) else "is an empty folder"
    raise ValueError(
        f"{path}: {state}; expected sparse/0/cameras.bin or .txt (COLMAP), transforms.json "
        "(nerfstudio, instant-ngp), transforms_train.json (Blender), an .xml of cameras "
        "(Metashape), a .csv of cameras (RealityCapture), keyframes/ (Polycam) or metadata and "
        f"rgbd/ (Record3D): find the poses of photos with `splat prep {path} -o SCENE`, or with "
        f"`splat train {path} --prep`"
    )
