"""Datasets: one format a file, each `load(path, images) -> SceneData | None`."""

from __future__ import annotations

from pathlib import Path

from splat.datasets import blender, colmap, nerfstudio
from splat.datasets.masks import with_masks
from splat.datasets.photo import fitted
from splat.datasets.points import cleaned, points_in_view
from splat.datasets.split import split
from splat.types import SceneData

__all__ = ["load", "points_in_view"]


def load(
    path: Path | str, *, images: str | None = None, masks: str = "auto", eval: str = "auto"
) -> SceneData:
    """The posed photographs in a folder, of whichever format; nothing is decoded.

    `images` names another folder of photos (such as `images_4`), `masks` is `auto`, `none` or a
    folder, `eval` is `auto`, `all`, `none`, a number or names (see `splat.datasets.split`).
    Cameras are in the frame of the input, of the size of their photos.
    """
    path = Path(path)
    scene = _read(path, images)
    if len(scene.train) + len(scene.test) < 2:
        raise ValueError(
            f"{path}: holds one posed photo only; expected at least 2, from different places: "
            "add photos and pose them"
        )
    return split(cleaned(with_masks(fitted(scene), masks)), eval)


def _read(path: Path, images: str | None) -> SceneData:
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: does not exist; expected the folder of a scene: check the spelling"
        )
    if not path.is_dir():
        raise NotADirectoryError(
            f"{path}: is a file; expected the folder of a scene: give {path.parent}"
        )
    for reader in (colmap.load, nerfstudio.load, blender.load):
        if (scene := reader(path, images)) is not None:
            return scene
    state = "is not a known scene" if any(path.iterdir()) else "is an empty folder"
    raise ValueError(
        f"{path}: {state}; expected sparse/0/cameras.bin or .txt (COLMAP), transforms.json "
        "(nerfstudio, instant-ngp) or transforms_train.json (Blender): pose the photos with "
        "COLMAP first"
    )
