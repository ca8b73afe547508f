"""Masks for verbs: each with its camera, as a pinhole camera would see it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from splat import api, mesh
from splat.cli.opened import Opened, cameras_of, run_of
from splat.datasets import photo as photos
from splat.datasets.masks import with_masks
from splat.math import spread
from splat.mesh.masks import Trim, without_disproved
from splat.photos.photo import outline, photograph
from splat.runs.folder import Folder, existing, read_config
from splat.scene import shrunk
from splat.types import Camera, SceneData, View

AUTO = "auto"
MOST = 40
"""Most masks that a mesh is trimmed by, evenly spread: each is used once a layer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Masked:
    """A camera of the input's frame with its mask, at its size."""

    name: str
    camera: Camera
    mask: UInt8[np.ndarray, "h w"]
    """255 where the mask's file is not black; shares where it was shrunk."""


def named_cameras(source: Path, cameras: Path | None) -> list[tuple[Camera, Mapping[str, Any]]]:
    """The cameras of a run, or of the file given, with their entries (names and splits)."""
    if cameras is None and source.is_file() and source.suffix != ".pt":
        raise ValueError(
            f"{source} is a file without cameras; give those of its photos with --cameras"
            " RUN/cameras.json"
        )
    path = cameras or existing(run_of(source).path).cameras
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected the cameras of a run")
    cameras_and_entries = cameras_of(path)
    if not all(entry.get("name") and entry.get("split") for _, entry in cameras_and_entries):
        raise ValueError(
            f"{path} does not name the photos of its cameras; give the cameras.json of a run"
        )
    return cameras_and_entries


def scene_of(source: Path, cameras: Path | None) -> SceneData | None:
    """The scene that a run, or the run of the file of cameras, was made from; None: it cannot be
    read."""
    place = Folder(cameras.parent) if cameras is not None else run_of(source)
    if not place.is_run():
        return None
    try:
        return api.reread(read_config(place.config), placed=place.cameras)
    except (OSError, ValueError) as error:
        _log.warning("the scene of %s cannot be read: %s", place.path, error)
        return None


def in_folder(
    folder: Path,
    entries: Sequence[tuple[Camera, Mapping[str, Any]]],
    scene: SceneData | None,
    max_side: int = 0,
) -> list[Masked]:
    """The masks in a folder, named after the photos: `NAME.png`, `NAME.jpg.png`.

    Photos with a lens are undistorted with their masks; where the scene is not known masks must
    be of photos that a pinhole took. Raises ValueError where there is none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: there is no such folder; expected masks called as the photos"
        )
    views = {} if scene is None else _masked_views(scene, folder)
    masked = []
    for camera, entry in entries:
        name = str(entry["name"])
        camera = shrunk(camera, 1, max_side or None)
        view = views.get(name) if scene is not None else _found(folder, name, camera)
        if view is None or view.mask is None:
            continue
        # The mask for the photo: what the photo's own alpha channel says is of no concern here.
        drawn = outline(replace(view, image=view.mask), camera.width, camera.height)
        assert drawn is not None
        masked.append(Masked(name, camera, drawn))
    if not masked:
        first = entries[0][1]["name"] if entries else "NAME"
        raise ValueError(
            f"{folder} has no mask for any of {len(entries)} photos; expected files called as they"
            f" are, such as {PurePosixPath(first).with_suffix('.png')}"
        )
    return masked


def of_object(source: Path, cameras: Path | None, masks: str, max_side: int) -> list[Masked]:
    """Masks of the object: from a folder, or, `auto`, those of the scene or alpha channels.

    White where a photo with a lens shows nothing.
    """
    entries, scene = named_cameras(source, cameras), scene_of(source, cameras)
    if masks == AUTO:
        return _outlines(entries, scene, max_side)
    masked = in_folder(Path(masks), entries, scene, max_side)
    return masked if scene is None else [_open(each, scene) for each in masked]


def trimmed_by_masks(
    made: mesh.Mesh, opened: Opened, shown: Sequence[Masked], options: Trim, quiet: bool
) -> mesh.Mesh:
    """A mesh, in the frame of training, without the faces that masks of the object disprove."""
    some = [shown[i] for i in spread(len(shown), MOST)]
    standing = [opened.placed(one.camera).to("cpu") for one in some]

    def bar(views: Iterable[int]) -> Iterable[int]:
        return tqdm(views, "masks", unit="view", disable=quiet or None)  # type: ignore[no-any-return]

    left = without_disproved(made, standing, [one.mask for one in some], options, bar)
    if not len(left.faces):
        raise ValueError(
            f"all {len(made.faces):,} faces lie outside of the {len(some)} masks; masks must be"
            " white where the object is: turn them round, or leave --masks out"
        )
    return left


def _masked_views(scene: SceneData, folder: Path) -> dict[str, View]:
    masked = with_masks(scene, str(folder.resolve()))
    return {view.name: view for view in (*masked.train, *masked.test)}


def _found(folder: Path, name: str, camera: Camera) -> View | None:
    """The mask of a photo without a scene, as a view of its own size; None: there is none."""
    endings = (f"{name}.png", str(PurePosixPath(name).with_suffix(".png")), Path(name).name)
    for ending in (*endings, *(Path(end).name for end in endings)):
        path = folder / ending
        if path.is_file():
            return View(name, camera.resized(*photos.size(path)), path, path)
    return None


def _outlines(
    entries: Sequence[tuple[Camera, Mapping[str, Any]]], scene: SceneData | None, max_side: int
) -> list[Masked]:
    """The outlines of the photos of a scene, by masks or alpha."""
    if scene is None:
        raise ValueError(
            "masks is auto, and the scene of the cameras is not known; give a folder of masks"
        )
    views = {view.name: view for view in (*scene.train, *scene.test)}
    masked = []
    for camera, entry in entries:
        view = views.get(str(entry["name"]))
        camera = shrunk(camera, 1, max_side or None)
        drawn = None if view is None else outline(view, camera.width, camera.height)
        if view is not None and drawn is not None:
            masked.append(_open(Masked(view.name, camera, drawn), scene))
    if not masked:
        raise ValueError(
            f"masks is auto, and no photo of {scene.path} has a mask or an alpha channel; give a"
            " folder of masks"
        )
    return masked


def _open(masked: Masked, scene: SceneData) -> Masked:
    """The mask, white where the photo shows nothing: beyond the edge of a lens anything may be."""
    view = next(view for view in (*scene.train, *scene.test) if view.name == masked.name)
    if view.lens is None and view.cut is None:
        return masked
    bare = replace(view, mask=None)
    counts = photograph(bare, masked.camera.width, masked.camera.height, masks="auto")[1]
    if counts is None:
        return masked
    return replace(masked, mask=np.where(counts == 0, np.uint8(255), masked.mask))
