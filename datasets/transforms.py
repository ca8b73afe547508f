"""Frames of a `transforms*.json`, as nerfstudio, instant-ngp and Blender scripts write them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from splat.datasets import photo
from splat.datasets.cameras import lens, pinhole
from splat.types import Camera, Lens, View

Entry = Mapping[str, Any]

_PERSPECTIVE = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
_FISHEYE = ("SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE")


@dataclass(frozen=True)
class Frames:
    """What one file holds."""

    views: Mapping[str, View]
    """By the `file_path` that the file gives."""
    meta: Entry
    """All but the frames."""
    notes: tuple[str, ...]


def read(file: Path, images: str | None = None) -> Frames:
    """The frames whose photos exist, sorted by name; the others are counted in the notes."""
    meta = _parsed(file)
    frames = meta.pop("frames", None)
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise ValueError(f"{file}: has no list of `frames`; expected one entry a photo")
    found: dict[str, View] = {}
    missing, twice = [], 0
    for i, frame in enumerate(frames):
        try:
            name = str(_get(frame, meta, "file_path"))
            image = _photo(file.parent, name, images)
            twice += name in found
            if image is None:
                missing.append(name)
            elif name not in found:
                found[name] = _view(file.parent, image, frame, meta)
        except ValueError as error:
            raise ValueError(f"{file}: frame {i}: {error}") from None
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


def plain(name: str) -> str:
    """A `file_path` in the one spelling that names are compared in."""
    return PurePosixPath(name.replace("\\", "/")).as_posix()


def _parsed(file: Path) -> dict[str, Any]:
    try:
        meta = json.loads(file.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}: line {error.lineno} is not JSON ({error.msg}); expected a whole file: copy "
            "or export it again"
        ) from None
    if not isinstance(meta, dict):
        raise ValueError(f"{file}: holds no JSON object; expected one with `frames`")
    return meta


def _photo(root: Path, name: str, images: str | None) -> Path | None:
    if images is not None:
        # Folders of scaled copies mirror the one that the file names first.
        parts = PurePosixPath(plain(name)).parts
        return photo.find(root / images, "/".join(parts[1:] if len(parts) > 1 else parts))
    return photo.find(root, name)


def _view(root: Path, image: Path, frame: Entry, meta: Entry) -> View:
    camera, bent = _camera(image, frame, meta)
    inside = image.is_relative_to(root)
    name = plain(str(image.relative_to(root) if inside else image))
    mask = None
    if (mask_name := frame.get("mask_path")) is not None:
        mask = root / plain(str(mask_name))
        if not mask.is_file():
            raise ValueError(f"its mask {mask_name} does not exist; expected it beside the file")
    return View(name, camera, image, mask, bent)


def _camera(image: Path, frame: Entry, meta: Entry) -> tuple[Camera, Lens | None]:
    stored = photo.size(image)
    width = int(_number(frame, meta, "w", stored[0]))
    height = int(_number(frame, meta, "h", stored[1]))
    angle_x, angle_y = (_number(frame, meta, f"camera_angle_{axis}", 0) for axis in "xy")
    fx = _number(frame, meta, "fl_x", _focal(width, angle_x))
    if not fx > 0:
        raise ValueError("has no focal length; expected `fl_x` in pixels or `camera_angle_x`")
    fy = _number(frame, meta, "fl_y", _focal(height, angle_y) or fx)
    cx = _number(frame, meta, "cx", width / 2)
    cy = _number(frame, meta, "cy", height / 2)
    pose = _world_to_camera(_get(frame, meta, "transform_matrix"))
    time = _number(frame, meta, "time", 0.0)
    camera = pinhole(pose, (fx, fy), (cx, cy), (width, height), time)
    return camera, _lens(frame, meta)


def _lens(frame: Entry, meta: Entry) -> Lens | None:
    fisheye = bool(frame.get("is_fisheye", meta.get("is_fisheye", False)))
    default = "OPENCV_FISHEYE" if fisheye else "OPENCV"
    model = frame.get("camera_model", meta.get("camera_model", default))
    k1, k2, k3, k4, p1, p2 = (
        _number(frame, meta, name, 0.0) for name in ("k1", "k2", "k3", "k4", "p1", "p2")
    )
    if model in _FISHEYE:
        return lens("fisheye", (k1, k2, k3, k4))
    if model not in _PERSPECTIVE:
        known = ", ".join((*_PERSPECTIVE, *_FISHEYE))
        raise ValueError(f"has camera_model {model}; expected one of {known}")
    if k4 != 0:
        raise ValueError(
            f"has k4 = {k4:g} with camera_model {model}, on whose meaning programs differ; "
            "expected k1, k2, k3, p1, p2: undistort the photos first"
        )
    return lens("radial", (k1, k2, p1, p2, k3))


def _world_to_camera(matrix: Any) -> npt.NDArray[np.float64]:
    """From OpenGL's camera to world (+y up, looking along -z); a scale of its axes is dropped."""
    try:
        values = np.array(matrix, np.float64)[:3]
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (3, 4) or not np.isfinite(values).all():
        raise ValueError("has no `transform_matrix` of 4x4 finite numbers; expected one")
    axes = values[:, :3] / np.maximum(np.linalg.norm(values[:, :3], axis=0), 1e-12)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-2 or np.linalg.det(axes) < 0:
        raise ValueError("has a `transform_matrix` that is no rotation; expected a rigid pose")
    rotation = (axes * np.array([1.0, -1.0, -1.0])).T
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ values[:, 3]
    return pose


def _focal(side: int, angle: float) -> float:
    return side / (2 * math.tan(angle / 2)) if angle > 0 else 0.0


def _get(frame: Entry, meta: Entry, key: str) -> Any:
    value = frame.get(key, meta.get(key))
    if value is None:
        raise ValueError(f"has no `{key}`; expected it in every frame")
    return value


def _number(frame: Entry, meta: Entry, key: str, default: float) -> float:
    value = frame.get(key, meta.get(key))
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"has `{key}`: {value!r}; expected a number")
    return float(value)


def names_of(meta: Entry, keys: Sequence[str]) -> set[str]:
    """The file names listed under the first of these keys that lists any."""
    for key in keys:
        if meta.get(key):
            return {plain(str(name)) for name in meta[key]}
    return set()
