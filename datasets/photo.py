"""Photographs on disk: where they are and how large, without decoding them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from splat.datasets import cuts
from splat.types import Camera, SceneData, View

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_PNG = b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def find(folder: Path, name: str) -> Path | None:
    """The photo `name` below `folder`, also under another suffix or if it names none."""
    if not name.strip("./\\"):
        return None
    exact = folder / name.replace("\\", "/")
    if is_there(exact):
        return exact
    endings = [ending for suffix in SUFFIXES for ending in (suffix, suffix.upper())]
    others = [exact.with_name(exact.name + ending) for ending in endings]
    others += [exact.with_suffix(ending) for ending in endings if exact.suffix]
    return next((other for other in others if is_there(other)), None)


def is_there(path: Path) -> bool:
    """Whether a file lies there; what can be no name, as a page of text, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def count(folder: Path) -> int:
    """How many photographs lie below a folder."""
    return sum(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))


def size(path: Path) -> tuple[int, int]:
    """Width and height of the stored pixels; EXIF's orientation is not applied."""
    with open(path, "rb") as file:
        head = file.read(24)
        found = None
        if head.startswith(_PNG) and len(head) == 24:
            found = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        if head.startswith(b"\xff\xd8"):
            found = _jpeg_size(file)
    return found if found and min(found) > 0 else _decoded_size(path)


def fitted(scene: SceneData) -> SceneData:
    """The scene with every camera at the size of its photo."""
    sizes = {view.image: size(view.image) for view in (*scene.train, *scene.test)}

    def fit(view: View) -> View:
        if view.cut is not None:
            _check_shape(view.cut.size, sizes[view.image], view.image)
            return cuts.fitted_cut(view, sizes[view.image])
        return replace(view, camera=_resized(view.camera, sizes[view.image], view.image))

    train, test = tuple(map(fit, scene.train)), tuple(map(fit, scene.test))
    before, after = (*scene.train, *scene.test), (*train, *test)
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a.camera is not b.camera]
    notes = scene.notes
    if changed:
        old, new = changed[0]
        notes += (
            f"{len(changed)} photos have another size than their cameras (the first is "
            f"{new.camera.width}x{new.camera.height} for {old.camera.width}x{old.camera.height}): "
            "the cameras were resized",
        )
    if lenses := [view.lens.model for view in after if view.lens is not None]:
        kinds = ", ".join(sorted(set(lenses)))
        notes += (f"{len(lenses)} photos are undistorted when they are decoded ({kinds})",)
    notes += cuts.told(after)
    return replace(scene, train=train, test=test, notes=notes)


def _resized(camera: Camera, found: tuple[int, int], image: Path) -> Camera:
    width, height = found
    if (width, height) == (camera.width, camera.height):
        return camera
    _check_shape((camera.width, camera.height), found, image)
    return camera.resized(width, height)


def _check_shape(camera: tuple[int, int], found: tuple[int, int], image: Path) -> None:
    (width, height), (wide, high) = found, camera
    # Both sides may have been rounded by up to a pixel when the photo was scaled.
    if abs(width * high - height * wide) > max(wide, high):
        raise ValueError(
            f"{image}: is {width}x{height} pixels, its camera {wide}x{high}; "
            "expected the same shape: use the photos that the poses were made from (stored "
            "pixels, not turned by EXIF), or a scaled copy of them"
        )


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """From the frame header behind the metadata; None where there is none."""
    file.seek(2)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF:
        if head[1] in _START_OF_FRAME:
            frame = file.read(5)
            return int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
        file.seek(int.from_bytes(head[2:4], "big") - 2, 1)
    return None


def _decoded_size(path: Path) -> tuple[int, int]:
    raw = np.fromfile(path, np.uint8)
    image = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED) if len(raw) else None
    if image is None:
        raise ValueError(
            f"{path}: is not a picture that can be read; expected PNG, JPEG or another format "
            "of OpenCV: convert it"
        )
    return int(image.shape[1]), int(image.shape[0])
