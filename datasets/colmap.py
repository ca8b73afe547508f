"""COLMAP: `sparse/N` (binary or text) beside `images/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splat.datasets import cuts, photo, rig
from splat.datasets.cameras import lens, pinhole, rotation
from splat.datasets.colmap_model import (
    EXPECTED,
    Pose,
    Sensor,
    cloud,
    file_of,
    holds_model,
    poses,
    registered,
    sensors,
)
from splat.scene import Points, SceneData, View
from splat.system.foreign import Broken, part, reading, shown

EXPECTS = "sparse/0/cameras.bin or .txt (COLMAP)"
"""What `load` looks for."""
_LENSES: dict[str, tuple[int, str]] = {
    "SIMPLE_PINHOLE": (1, "radial"),
    "PINHOLE": (2, "radial"),
    "SIMPLE_RADIAL": (1, "radial"),
    "RADIAL": (1, "radial"),
    "OPENCV": (2, "radial"),
    "OPENCV_FISHEYE": (2, "fisheye"),
    "FULL_OPENCV": (2, "radial"),
    "FOV": (2, "fov"),
    "SIMPLE_RADIAL_FISHEYE": (1, "fisheye"),
    "RADIAL_FISHEYE": (1, "fisheye"),
    "THIN_PRISM_FISHEYE": (2, "thin_prism_fisheye"),
    "RAD_TAN_THIN_PRISM_FISHEYE": (2, "rad_tan_thin_prism_fisheye"),
    "SIMPLE_DIVISION": (1, "division"),
    "DIVISION": (2, "division"),
    "SIMPLE_FISHEYE": (1, "fisheye"),
    "FISHEYE": (2, "fisheye"),
    "EUCM": (2, "eucm"),
}
"""Focal lengths a model has, and the family of its lens in `splat.photos.lens`; EQUIRECTANGULAR,
the one that is missing, has neither."""


def load(path: Path, images: str | None = None) -> SceneData | None:
    """The largest model below `path`, or None where there is none."""
    candidates = [folder for folder in folders(path) if holds_model(folder)]
    if not candidates:
        return None
    sizes = [registered(folder) for folder in candidates]
    model = candidates[sizes.index(max(sizes))]
    notes = []
    if len(candidates) > 1:
        others = ", ".join(
            f"{folder.relative_to(path).as_posix()} has {n}"
            for folder, n in zip(candidates, sizes, strict=True)
            if folder != model
        )
        name = model.relative_to(path).as_posix()
        notes.append(f"{name} was taken, with {max(sizes)} registered images ({others})")
    if (path / "transforms.json").is_file():
        notes.append("there is a transforms.json too, which was left unread")
    folder = _image_folder(path, images, notes)
    views = _views(model, folder, notes)
    return SceneData(path, "colmap", views, (), points_of(model), tuple(notes))


def folders(path: Path) -> list[Path]:
    """Where a model may lie, the likeliest first."""
    sparse = path / "sparse"
    numbered = sorted(sparse.iterdir()) if sparse.is_dir() else []
    return [folder for folder in (*numbered, sparse, path) if folder.is_dir()]


def _image_folder(path: Path, images: str | None, notes: list[str]) -> Path:
    if (folder := path / (images or "images")).is_dir():
        return folder
    scaled = sorted(
        (folder for folder in path.glob("images_*") if folder.name[7:].isdigit()),
        key=lambda folder: int(folder.name[7:]),
    )
    if images is None and scaled:
        notes.append(f"there is no images/; the photos were taken from {scaled[0].name}/")
        return scaled[0]
    raise FileNotFoundError(
        f"{folder}: there is no such folder; expected the photos that COLMAP registered: name "
        "their folder with --images"
    )


def _views(model: Path, folder: Path, notes: list[str]) -> tuple[View, ...]:
    cameras = sensors(model)
    found: list[View] = []
    missing, photos = [], 0
    listed = sorted(poses(model), key=lambda pose: pose.name)
    for pose in listed:
        image = photo.find(folder, pose.name)
        if image is None:
            missing.append(pose.name)
            continue
        found += _posed(model, pose, cameras)(pose.name, image)
        photos += 1
    if not found:
        raise FileNotFoundError(
            f"{folder}: holds none of the {len(listed)} photos registered in {model} (such as "
            f"{', '.join(missing[:1]) or 'none'}); expected them there: copy them, or name their "
            "folder with --images"
        )
    if missing:
        notes.append(
            f"{len(missing)} of {len(listed)} registered photos are missing in {folder.name}/ "
            f"and were skipped (the first is {missing[0]})"
        )
    if (there := photo.count(folder)) > photos:
        notes.append(f"COLMAP registered {photos} of the {there} photos in {folder.name}/")
    return tuple(found)


def _posed(
    model: Path, pose: Pose, cameras: Mapping[int, Sensor]
) -> Callable[[str, Path], tuple[View, ...]]:
    """What makes the views of a photo, by a name and its file, that was taken from a pose."""
    with reading(file_of(model, "images"), EXPECTED), part(f"image {shown(pose.name)}"):
        if pose.camera not in cameras:
            raise Broken(
                f"was taken by camera {pose.camera}, which is not among the {len(cameras)} "
                "cameras; expected a whole model: export it again"
            )
        matrix = _matrix(pose)

    def views(name: str, image: Path) -> tuple[View, ...]:
        with reading(file_of(model, "cameras"), EXPECTED), part(f"camera {pose.camera}"):
            return _views_of(name, matrix, cameras[pose.camera], image)

    return views


def of_cameras(model: Path, frames: rig.Frames) -> dict[str, rig.Posed]:
    """What makes the views of frames, for each camera of a rig of which a model has a photo."""
    listed, cameras = {pose.name: pose for pose in poses(model)}, sensors(model)
    names = rig.names_of(frames, [*listed])
    if not names:
        raise ValueError(
            f"{file_of(model, 'images')}: has {len(listed)} photos (such as"
            f" {next(iter(listed), 'none')}), of none of the {len(frames)} cameras (such as"
            f" {next(iter(frames))}); expected names with those of the cameras, or their numbers"
        )
    return {camera: _posed(model, listed[name], cameras) for camera, name in names.items()}


def _views_of(
    name: str, matrix: npt.NDArray[np.float64], sensor: Sensor, image: Path
) -> tuple[View, ...]:
    """The view of a photo, or several where it sees too much for one."""
    size = (sensor.width, sensor.height)
    if sensor.model not in _LENSES:
        return cuts.panorama(name, image, matrix, size)
    focals, family = _LENSES[sensor.model]
    values = sensor.parameters
    focal = (values[0], values[focals - 1])
    principal = (values[focals], values[focals + 1])
    camera = pinhole(matrix, focal, principal, size)
    bent = lens(family, values[focals + 2 :])
    parts = cuts.fisheye(name, image, matrix, focal, principal, size, bent)
    return parts or (View(name, camera, image, lens=bent),)


def _matrix(pose: Pose) -> npt.NDArray[np.float64]:
    """World to camera."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(np.array(pose.quaternion, np.float64))
    matrix[:3, 3] = pose.translation
    if not np.isfinite(matrix).all():
        raise Broken("its pose holds NaN or infinite numbers; expected finite ones")
    return matrix


def points_of(model: Path) -> Points | None:
    """The points of a model, if it has any."""
    found = cloud(model)
    if found is None or len(found.positions) == 0:
        return None
    return Points.of_arrays(found.positions, found.colors.astype(np.float32) / 255)
