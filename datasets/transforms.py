"""Frames of a `transforms*.json`, as nerfstudio, instant-ngp and Blender scripts write them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from splat.datasets import photo
from splat.datasets.cameras import LONGEST, lens, pinhole
from splat.datasets.found import OPENGL, name_of, plain, world_to_camera
from splat.scene import Camera, Lens, View
from splat.system.foreign import Broken, Record, part, reading, record, shown

_PERSPECTIVE = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
_FISHEYE = ("SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE")


@dataclass(frozen=True)
class Frames:
    """What one file holds."""

    views: Mapping[str, View]
    """By the `file_path` that the file gives."""
    meta: Record
    """All but the frames."""
    notes: tuple[str, ...]


def read(file: Path, images: str | None = None) -> Frames:
    """The frames whose photos exist, sorted by name; the others are counted in the notes."""
    with reading(file, "a list of `frames`, one a photo: copy or export it again"):
        return _frames(file, record(file, "`frames`"), images)


def _frames(file: Path, content: Record, images: str | None) -> Frames:
    frames = content.records("frames")
    meta = Record({key: value for key, value in content.items() if key != "frames"})
    found: dict[str, View] = {}
    missing, twice = [], 0
    for i, frame in enumerate(frames):
        with part(f"frame {i}"):
            entry = frame.over(meta)
            name = entry.text("file_path")
            image = _photo(file.parent, name, images)
            twice += name in found
            if image is None:
                missing.append(name)
            elif name not in found:
                found[name] = _view(file.parent, image, entry)
    if not found:
        raise FileNotFoundError(
            f"{file}: none of the photos of its {len(frames)} frames exists (such as "
            f"{', '.join(missing[:1]) or 'none'}); expected them beside the file: copy them, or "
            "name their folder with --images"
        )
    notes = []
    if missing:
        notes.append(
            f"{len(missing)} of {len(frames)} frames in {file.name} have no photo and were "
            f"skipped (the first is {missing[0]})"
        )
    if twice:
        notes.append(f"{twice} frames in {file.name} name a photo again and were skipped")
    return Frames(dict(sorted(found.items(), key=lambda item: item[1].name)), meta, tuple(notes))


def shortened(frames: Frames) -> Frames:
    """The frames with names less the folder that all photos share."""
    parents = [PurePosixPath(view.name).parent.parts for view in frames.views.values()]
    shared = 0
    while all(len(p) > shared and p[shared] == parents[0][shared] for p in parents):
        shared += 1
    views = {
        key: replace(view, name="/".join(PurePosixPath(view.name).parts[shared:]))
        for key, view in frames.views.items()
    }
    return replace(frames, views=views)


def _photo(root: Path, name: str, images: str | None) -> Path | None:
    if images is not None:
        # Folders of scaled copies mirror the one that the file names first.
        parts = PurePosixPath(plain(name)).parts
        return photo.find(root / images, "/".join(parts[1:] if len(parts) > 1 else parts))
    return photo.find(root, name)


def _view(root: Path, image: Path, entry: Record) -> View:
    camera, bent = camera_of(entry, photo.size(image))
    mask = None
    if entry.get("mask_path") is not None:
        mask = root / plain(entry.text("mask_path"))
        if not photo.is_there(mask):
            raise Broken(
                f"its mask {shown(entry['mask_path'])} does not exist; expected it beside the file"
            )
    return View(name_of(image, root), camera, image, mask, bent)


def camera_of(entry: Record, size: tuple[int, int]) -> tuple[Camera, Lens | None]:
    """The camera of a frame, and its lens; `size` is that of its photo, where it says none itself.

    Raises `Broken`.
    """
    width, height = (
        int(entry.number(key, side, least=1, most=LONGEST))
        for key, side in zip("wh", size, strict=True)
    )
    angle_x, angle_y = (entry.number(f"camera_angle_{axis}", 0) for axis in "xy")
    fx = entry.number("fl_x", _focal(width, angle_x))
    if not fx > 0:
        raise Broken("has no focal length; expected `fl_x` in pixels or `camera_angle_x`")
    fy = entry.number("fl_y", _focal(height, angle_y) or fx)
    cx, cy = entry.number("cx", width / 2), entry.number("cy", height / 2)
    pose = world_to_camera(entry.numbers("transform_matrix", -1, 4), OPENGL)
    time = entry.number("time", 0.0)
    camera = pinhole(pose, (fx, fy), (cx, cy), (width, height), time)
    return camera, _lens(entry)


def _lens(entry: Record) -> Lens | None:
    default = "OPENCV_FISHEYE" if entry.get("is_fisheye") else "OPENCV"
    model = entry.text("camera_model", default)
    k1, k2, k3, k4, p1, p2 = (
        entry.number(name, 0.0) for name in ("k1", "k2", "k3", "k4", "p1", "p2")
    )
    if model in _FISHEYE:
        return lens("fisheye", (k1, k2, k3, k4))
    if model not in _PERSPECTIVE:
        known = ", ".join((*_PERSPECTIVE, *_FISHEYE))
        raise Broken(f"has camera_model {shown(model)}; expected one of {known}")
    if k4 != 0:
        raise Broken(
            f"has k4 = {k4:g} with camera_model {model}, on whose meaning programs differ; "
            "expected k1, k2, k3, p1, p2: undistort the photos first"
        )
    return lens("radial", (k1, k2, p1, p2, k3))


def _focal(side: int, angle: float) -> float:
    return side / (2 * math.tan(angle / 2)) if angle > 0 else 0.0


def names_of(meta: Record, keys: Sequence[str]) -> set[str]:
    """The file names listed under the first of these keys that lists any."""
    for key in keys:
        if meta.get(key):
            return {plain(str(name)) for name in meta.entries(key)}
    return set()
