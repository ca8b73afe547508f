"""Cameras of a rig: as they lie beside its videos, or as they are found in its first instant."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from splat.datasets import colmap, n3dv, nerfstudio, photo, rig
from splat.datasets.colmap_model import holds_model
from splat.datasets.found import OPENGL
from splat.datasets.transforms import camera_of
from splat.prep.films import Film, frames_of
from splat.system.foreign import Record, part, reading, record, shown
from splat.types import Points, View

TRANSFORMS, BOUNDS = "transforms.json", "poses_bounds.npy"
LARGEST = 1 << 16
"""Longest side of frames that poses are found in, pixels: as they are."""
_LENSES = {"radial": ("OPENCV", ("k1", "k2", "p1", "p2", "k3")),
           "fisheye": ("OPENCV_FISHEYE", ("k1", "k2", "k3", "k4"))}  # fmt: skip
"""Lenses that `transforms.json` has: its model, and the names of coefficients in our order."""
_WANTED = "expected sparse/0 of COLMAP or transforms.json, whose photos are called as its videos"
Find = Callable[[Path, Path], object]
"""Finds poses of the photos in a folder, and leaves `sparse/0` in another one."""


def has_poses(source: Path) -> bool:
    """Whether poses lie beside the videos of a rig."""
    return _model(source) is not None or any(
        (source / name).is_file() for name in (TRANSFORMS, BOUNDS)
    )


@dataclass(frozen=True)
class Poses:
    """Cameras that were given, by the names of videos."""

    names: frozenset[str]
    make: Callable[[Film], tuple[View, ...]]
    """The views of a video's first frame, at full size."""
    points: Points | None
    notes: list[str]

    def view(self, film: Film) -> View:
        """The camera of a video, at its size; raises ValueError where it is none for it."""
        views = self.make(film)
        if len(views) != 1 or views[0].cut is not None:
            raise ValueError(
                f"{film.path}: its camera sees too much for one picture (a panorama or a wide"
                " fisheye), which transforms.json cannot say; expected perspective cameras:"
                " undistort the videos, and find their poses again"
            )
        camera = views[0].camera
        photo.check_shape((camera.width, camera.height), (film.width, film.height), film.path)
        return replace(views[0], camera=camera.resized(film.width, film.height))


def given_poses(source: Path, films: Sequence[Film]) -> Poses:
    """The cameras beside the videos; raises ValueError where fewer than two videos have one."""
    model = _model(source)
    if model is not None:
        posed = colmap.of_cameras(model, {film.name: {0: film.path} for film in films})
        poses = Poses(
            frozenset(posed),
            lambda film: posed[film.name](film.name, film.path),
            colmap.points_of(model),
            [],
        )
    elif (source / BOUNDS).is_file():
        rows = n3dv.of_cameras(source / BOUNDS, [film.name for film in films])
        poses = Poses(frozenset(rows), lambda film: rows[film.name](film.name, film.path), None, [])
    else:
        poses = _of_transforms(source / TRANSFORMS, films)
    lacking = [film.path.name for film in films if film.name not in poses.names]
    if len(poses.names) < 2:
        raise ValueError(
            f"{source}: {len(poses.names)} of its {len(films)} videos has a pose; {_WANTED}"
            f" (the first without is {lacking[0]})"
        )
    if lacking:
        poses.notes.append(
            f"{len(lacking)} of {len(films)} videos have no pose and were skipped (the first is"
            f" {lacking[0]})"
        )
    return poses


def _of_transforms(file: Path, films: Sequence[Film]) -> Poses:
    with reading(file, "a list of `frames`, one a video: export it again"):
        content = record(file, "`frames`")
        meta = Record({key: value for key, value in content.items() if key != "frames"})
        entries: dict[str, Record] = {}
        for i, frame in enumerate(content.records("frames")):
            with part(f"frame {i}"):
                entries.setdefault(frame.text("file_path"), frame.over(meta))
        points, notes = nerfstudio.points_of(file.parent, meta)
    names = rig.names_of([film.name for film in films], [*entries])

    def made(film: Film) -> tuple[View, ...]:
        name = names[film.name]
        with reading(file, "a camera for each video"), part(f"the frame of {shown(name)}"):
            camera, bent = camera_of(entries[name], (film.width, film.height))
        return (View(film.name, replace(camera, time=0.0), film.path, None, bent),)

    return Poses(frozenset(names), made, points, [*notes])


def found_poses(kept: Path, firsts: Sequence[tuple[Film, int]], find: Find) -> Poses:
    """The cameras as they are found in the frames of the first instant, by their numbers."""
    first, posed = kept / "first", kept / "posed"
    removed(first)
    for film, number in firsts:
        own = first / film.name
        own.mkdir(parents=True)
        if frames_of(film, own, range(number, number + 1), LARGEST, lambda _: None):
            (own / "00000.jpg").rename(first / f"{film.name}.jpg")
        own.rmdir()
    find(first, posed)
    return given_poses(posed, [film for film, _ in firsts])


def _model(source: Path) -> Path | None:
    return next((each for each in colmap.folders(source) if holds_model(each)), None)


def camera_record(film: Film, view: View, size: tuple[int, int]) -> dict[str, Any]:
    """A camera at a size as `transforms.json` has it; raises ValueError where its lens has no name
    there."""
    camera, bent = view.camera.resized(*size), view.lens
    K, pose = camera.K.double(), camera.world_to_camera.double().inverse()
    pose[:3, :3] *= pose.new_tensor(OPENGL)
    told: dict[str, Any] = {"camera_model": "PINHOLE"}
    if bent is not None:
        model, names = _LENSES.get(bent.model, ("", ()))
        if not model or any(bent.coefficients[len(names) :]):
            raise ValueError(
                f"{film.path}: its camera has the lens {bent.model} with {len(bent.coefficients)}"
                " coefficients, which transforms.json cannot say; expected OPENCV, OPENCV_FISHEYE"
                " or simpler models of COLMAP: undistort the videos"
            )
        told = {"camera_model": model, **dict(zip(names, bent.coefficients, strict=False))}
    return {
        **told, "w": camera.width, "h": camera.height,
        "fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2]),
        "transform_matrix": pose.tolist(),
    }  # fmt: skip


def removed(path: Path) -> None:
    """Remove a file or a folder, where there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
