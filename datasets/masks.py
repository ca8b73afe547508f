"""Masks beside the photos: `masks/NAME.png` or `masks/NAME.jpg.png`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from splat.datasets import photo
from splat.datasets.cuts import photo_of
from splat.scene import SceneData, View


def with_masks(scene: SceneData, masks: str = "auto") -> SceneData:
    """The scene with the masks of a folder (`auto`: `masks/`, if it is there), or with `none`.

    A mask that the dataset itself names for a photo goes before the folder's under `auto`.
    """
    if masks == "none":
        return scene.changed(lambda view: replace(view, mask=None))
    folder = scene.path / ("masks" if masks == "auto" else masks)
    if masks != "auto" and not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: there is no such folder; expected masks called as the photos: give "
            "--masks auto, none or a folder"
        )
    found = scene
    if folder.is_dir():
        found = scene.changed(lambda view: _masked(view, folder, keep=masks == "auto"))
    views = (*found.train, *found.test)
    for view in views:
        _check_size(view)
    missing = [view.name for view in views if view.mask is None]
    if len(missing) == len(views):
        return found
    note = f"{len(views) - len(missing)} of {len(views)} photos have a mask"
    if missing:
        note += f" (the first without is {missing[0]})"
    return replace(found, notes=(*found.notes, note))


def _masked(view: View, folder: Path, keep: bool) -> View:
    if keep and view.mask is not None:
        return view
    names = (photo_of(view), view.image.name)
    endings = [f"{name}.png" for name in names]
    endings += [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    paths = [folder / ending for ending in endings]
    return replace(view, mask=next((path for path in paths if path.is_file()), None))


def _check_size(view: View) -> None:
    if view.mask is None:
        return
    mask, picture = photo.size(view.mask), photo.size(view.image)
    if mask != picture:
        raise ValueError(
            f"{view.mask}: is {mask[0]}x{mask[1]} pixels, its photo {picture[0]}x{picture[1]}; "
            "expected the same size: export it again, or train with --masks none"
        )
