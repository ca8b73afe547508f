"""Depth and normals beside the photos: `depths/NAME.png`, `normals/NAME.jpg.png` and so on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar, cast

import numpy as np

from splat.datasets import photo
from splat.scene import DepthFile, NormalFile, SceneData, View
from splat.system.foreign import Broken, Record, finite, reading, record, shown

DepthKind = Literal["metric", "affine", "inverse"]
NormalFrame = Literal["camera", "opengl", "world"]

DEPTH_ENDINGS = (".png", ".exr", ".npy", ".npz")
NORMAL_ENDINGS = (".png", ".npy", ".npz")
KINDS: tuple[DepthKind, ...] = ("metric", "affine", "inverse")
FRAMES: tuple[NormalFrame, ...] = ("camera", "opengl", "world")
SETTINGS = {"depths": "depths.json", "normals": "normals.json"}
"""Beside the maps of a folder: what they are of."""

_Kind = TypeVar("_Kind", bound=str)


def with_depths(scene: SceneData, depths: str = "auto", kind: str = "auto") -> SceneData:
    """The scene with the depth maps of a folder (`auto`: `depths/`, if it is there), or `none`.

    What their numbers are is in `depths.json` of the folder: `kind` is metric, affine or inverse
    (see `splat.types.DepthFile`), affine where nothing is said, and `scale` are world units of the
    poses per number of a metric map. `kind` here goes before it, unless it is auto.
    """
    folder, asked = _folder(scene, depths, "depths")
    if kind != "auto":
        _known(kind, KINDS, "--depth-kind")
    if folder is None:
        return scene.changed(lambda view: replace(view, depth=None)) if depths == "none" else scene
    said = _settings(folder / SETTINGS["depths"], ("kind", "scale"))
    found = _known(said.get("kind", "affine"), KINDS, f"{folder / SETTINGS['depths']}: kind")
    found = found if kind == "auto" else cast(DepthKind, kind)
    scale = _factor(said.get("scale", 1.0), folder / SETTINGS["depths"])

    def change(view: View) -> View:
        path = _path(folder, view, DEPTH_ENDINGS)
        return replace(view, depth=None if path is None else DepthFile(path, found, scale))

    changed = scene.changed(change)
    with_one = [v for v in _views(changed) if v.depth is not None]
    return _told(changed, with_one, folder, asked, f"depth ({found})", DEPTH_ENDINGS)


def with_normals(scene: SceneData, normals: str = "auto") -> SceneData:
    """The scene with the normal maps of a folder (`auto`: `normals/`, if it is there), or `none`.

    Their axes are in `normals.json` of the folder: `frame` is camera, opengl or world (see
    `splat.types.NormalFile`), camera where nothing is said.
    """
    folder, asked = _folder(scene, normals, "normals")
    if folder is None:
        return (
            scene.changed(lambda view: replace(view, normal=None)) if normals == "none" else scene
        )
    said = _settings(folder / SETTINGS["normals"], ("frame",))
    frame = _known(said.get("frame", "camera"), FRAMES, f"{folder / SETTINGS['normals']}: frame")

    def change(view: View) -> View:
        path = _path(folder, view, NORMAL_ENDINGS)
        return replace(view, normal=None if path is None else NormalFile(path, frame))

    changed = scene.changed(change)
    with_one = [v for v in _views(changed) if v.normal is not None]
    return _told(changed, with_one, folder, asked, f"normals ({frame} axes)", NORMAL_ENDINGS)


def _folder(scene: SceneData, given: str, usual: str) -> tuple[Path | None, bool]:
    """The folder of the maps, and whether it was asked for by name."""
    if given == "none":
        return None, False
    folder = scene.path / (usual if given == "auto" else given)
    if given != "auto" and not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: there is no such folder; expected {usual} called as the photos: give"
            f" --{usual} auto, none or a folder"
        )
    return (folder if folder.is_dir() else None), given != "auto"


def _settings(path: Path, known: Sequence[str]) -> Record:
    if not path.is_file():
        return Record({})
    names = " and ".join(f'"{name}"' for name in known)
    with reading(path, f"an object with {names}: correct it"):
        said = record(path, names)
        if unknown := sorted(set(said) - set(known)):
            raise Broken(f"has {shown(unknown[0])}; expected {names} only: correct it")
    return said


def _known(value: object, allowed: tuple[_Kind, ...], what: str) -> _Kind:
    found = next((each for each in allowed if each == value), None)
    if found is None:
        raise ValueError(f"{what} is {shown(value)}; expected {', '.join(allowed)}")
    return found


def _factor(value: object, path: Path) -> float:
    number = finite(value)
    if number is None or not 0 < number:
        raise ValueError(
            f"{path}: scale is {shown(value)}; expected world units per number of the maps, above"
            " 0, such as 0.001 for millimetres where poses are in metres"
        )
    return number


def _path(folder: Path, view: View, endings: Sequence[str]) -> Path | None:
    """The map of a photo: by its name, or by its name without its suffix."""
    names = (view.name, view.image.name)
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    if view.cut is not None:  # a map of the whole panorama is not one of a view cut out of it
        names, stems = (view.name, view.name), []
    tried = (folder / f"{name}{ending}" for name in (*names, *stems) for ending in endings)
    found = next((path for path in tried if path.is_file()), None)
    if found is not None:
        _check(found, view)
    return found


def _check(path: Path, view: View) -> None:
    """Maps may be smaller or larger than their photos, of the same shape."""
    found = _size(path)
    if found is None:
        return
    (width, height), camera = found, view.camera
    if abs(width * camera.height - height * camera.width) > max(camera.width, camera.height):
        raise ValueError(
            f"{path}: is {width}x{height} pixels, its photo {camera.width}x{camera.height};"
            " expected the same shape, at any size: make it from the whole photo, as it is stored"
        )


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height, where they can be had without decoding."""
    if path.suffix == ".png":
        return photo.size(path)
    if path.suffix != ".npy":
        return None
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except Exception:  # such as what `tokenize` raises on headers
        return None  # decoding says what is wrong with it
    shape = tuple(side for side in shape[:-1] if side != 1) + shape[-1:]
    return (shape[1], shape[0]) if len(shape) >= 2 else None


def _views(scene: SceneData) -> tuple[View, ...]:
    return (*scene.train, *scene.test)


def _told(
    scene: SceneData,
    having: Sequence[View],
    folder: Path,
    asked: bool,
    what: str,
    endings: Sequence[str],
) -> SceneData:
    """The scene, with a note of how many photos have a map."""
    views = _views(scene)
    if not having and asked:
        raise ValueError(
            f"{folder}: holds no map of any photo; expected names such as"
            f" {PurePosixPath(views[0].name).stem} with one of {', '.join(endings)}"
        )
    note = f"{len(having)} of {len(views)} photos have {what} in {folder.name}/"
    names = {view.name for view in having}
    missing = [view.name for view in views if view.name not in names]
    if missing:
        note += f" (the first without is {missing[0]})"
    return replace(scene, notes=(*scene.notes, note))
