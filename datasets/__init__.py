"""Readers of posed photographs: one format a file, each `load(path, images)` and `EXPECTS`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from splat.datasets.clip import with_clip
from splat.datasets.guides import with_depths, with_normals
from splat.datasets.masks import with_masks
from splat.datasets.photo import fitted
from splat.datasets.points import cleaned, points_in_view
from splat.datasets.split import split
from splat.options import Reading
from splat.scene import SceneData
from splat.system.entry_points import installed_besides
from splat.system.foreign import reading
from splat.system.import_path import object_at

__all__ = ["load", "points_in_view", "read"]

READERS: Mapping[str, str] = {
    name: f"splat.datasets.{name}"
    for name in (
        *("freetime", "colmap", "nerfstudio", "blender"),
        *("metashape", "reality", "polycam", "record3d"),
        *("nerfies", "n3dv", "multipleview", "easyvolcap"),
    )
}
"""Modules, asked in this order. Each has `load`, which gives None where a folder is not of its
format, and `EXPECTS`, the files that it looks for, in words."""
GROUP = "splat.readers"
"""Entry points of other packages' readers, modules likewise; they are asked after ours."""


def readers() -> Iterator[Any]:
    """The modules of all readers, ours first."""
    for place in (*READERS.values(), *installed_besides(GROUP, READERS).values()):
        module = object_at(place)
        if module is not None:
            yield module


def load(
    path: Path | str,
    *,
    images: str | None = None,
    masks: str = "auto",
    eval: str = "auto",
    depths: str = "auto",
    normals: str = "auto",
    depth_kind: str = "auto",
    allow_outside: bool = False,
) -> SceneData:
    """The posed photographs in a folder, of whichever format; nothing is decoded.

    `images` names another folder of photos (such as `images_4`), `masks` is `auto`, `none` or a
    folder, `eval` is `auto`, `path`, `all`, `none`, a number or names (see `splat.datasets.split`);
    `depths` and `normals` are as `masks`, `depth_kind` is what depths are if not what their folder
    says (see `splat.datasets.guides`).
    A scene, which may be a stranger's, that names photos outside of its folder is refused unless
    `allow_outside`. Cameras are in the frame of the input, of the size of their photos.
    """
    path = Path(path)
    scene = _read(path, images)
    if len({view.image for view in (*scene.train, *scene.test)}) < 2:
        raise ValueError(
            f"{path}: holds one posed photo only; expected at least 2, from different places: "
            "add photos and pose them"
        )
    if not allow_outside:
        _check_inside(scene, path, images)
    scene = with_masks(fitted(with_clip(scene)), masks)
    scene = with_normals(with_depths(scene, depths, depth_kind), normals)
    return split(cleaned(scene), eval)


def read(path: Path, asked: Reading) -> SceneData:
    """The scene in a folder, read as asked."""
    return load(path, **asdict(asked))


def _check_inside(scene: SceneData, path: Path, images: str | None) -> None:
    """Raise ValueError where a photo or a mask lies, by its name, neither in the folder of the
    scene nor in that which the user named."""
    folder = path if path.is_dir() else path.parent
    allowed = [folder] if images is None else [folder, folder / images]
    roots = [os.path.abspath(each) for each in allowed]
    for view in (*scene.train, *scene.test):
        for kind, file in (("photo", view.image), ("mask", view.mask)):
            place = Path(os.path.abspath(file or path))  # links inside are followed
            if not any(place.is_relative_to(root) for root in roots):
                raise ValueError(
                    f"{path} names a {kind} outside of its folder, {file}; move the {kind}s there,"
                    " or read them all the same with --allow-outside"
                )


def _read(path: Path, images: str | None) -> SceneData:
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: does not exist; expected the folder of a scene: check the spelling"
        )
    if not path.is_dir():
        raise NotADirectoryError(
            f"{path}: is a file; expected the folder of a scene: give {path.parent}"
        )
    looked_for = []
    for reader in readers():
        with reading(path, f"{reader.EXPECTS}: copy or export it again"):
            scene: SceneData | None = reader.load(path, images)
        if scene is not None:
            return scene
        looked_for.append(reader.EXPECTS)
    # What is asked before COLMAP, being more of a format than it, is what fewest people mean.
    looked_for.append(looked_for.pop(0))
    *others, last = looked_for
    state = "is not a known scene" if any(path.iterdir()) else "is an empty folder"
    raise ValueError(
        f"{path}: {state}; expected {', '.join(others)} or {last}: find the poses of photos with"
        f" `splat prep {path} -o SCENE`, or with `splat train {path} --prep`"
    )
