"""Rigs: frames of several cameras that stand still, numbered by instant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from splat.datasets.found import array_of, photos_in, plain
from splat.scene import Points, View
from splat.system.foreign import Broken, reading

Frames = Mapping[str, Mapping[int, Path]]
"""Of each camera, by its name, its frames by their numbers; a number is an instant of all."""
Posed = Callable[[str, Path], tuple[View, ...]]
"""What makes the views of a photo, by a name and its file, that one camera took."""
_MOST_DIGITS = 18
"""Of a number in a name; a longer one is no number of a camera."""
MOST_POINTS = 5_000_000
"""Most points of all instants together; beyond, some instants are left out."""


def numbered(folder: Path) -> dict[int, Path]:
    """Photos of a folder by the last number in their names."""
    found = {}
    for stem, image in photos_in(folder).items():
        if digits := re.findall(r"\d+", stem):
            found[int(digits[-1])] = image
    return dict(sorted(found.items()))


def span(frames: Frames) -> tuple[int, int]:
    """The first and the last number of all cameras."""
    numbers = [number for own in frames.values() for number in own]
    return min(numbers), max(numbers)


def views(
    frames: Frames, posed: Mapping[str, Posed], naming: Callable[[str, Path], str]
) -> tuple[View, ...]:
    """The views of all frames of the cameras that are posed, with times from 0 to 1.

    Frames that are numbered are of one rate, whose seconds nobody says.
    """
    first, last = span(frames)
    found = []
    for camera, own in frames.items():
        for number, image in own.items() if camera in posed else ():
            time = part_of_clip(number, first, last)
            for view in posed[camera](naming(camera, image), image):
                found.append(replace(view, camera=view.camera.changed(time=time)))
    return tuple(sorted(found, key=lambda view: view.name))


def part_of_clip(number: int, first: int, last: int) -> float:
    """When a frame is, from 0 to 1 of the clip."""
    return (number - first) / (last - first) if last > first else 0.0


def told(frames: Frames, posed: Iterable[str]) -> list[str]:
    """What to say of cameras without a pose, and of those that lack frames which others have."""
    notes, known = [], set(posed)
    if missing := [camera for camera in frames if camera not in known]:
        notes.append(
            f"{len(missing)} of {len(frames)} cameras have frames and no pose, and were skipped"
            f" (the first is {missing[0]})"
        )
    numbers = {number for camera in known for number in frames[camera]}
    short = [camera for camera in frames if camera in known and len(frames[camera]) < len(numbers)]
    if short:
        notes.append(
            f"{len(short)} of {len(known)} cameras lack frames that others have (the first is"
            f" {short[0]}, with {len(frames[short[0]])} of {len(numbers)})"
        )
    return notes


def names_of(cameras: Iterable[str], registered: Sequence[str]) -> dict[str, str]:
    """For each camera the first registered photo that it took, as far as there is one.

    It lies in a folder of the camera's name, is called as the camera is, or so and `_frame` behind
    it; or the only number in its name is the only one in the camera's.
    """
    by_key: dict[str | int, str] = {}
    for name in sorted(registered):
        path = PurePosixPath(plain(name))
        for key in (*path.parent.parts, path.stem, path.stem.partition("_frame")[0]):
            by_key.setdefault(key, name)
        if (number := _only_number(path.stem)) is not None:
            by_key.setdefault(number, name)
    found = {}
    for camera in cameras:
        keys: list[str | int | None] = [camera, _only_number(camera)]
        if known := [key for key in keys if key is not None and key in by_key]:
            found[camera] = by_key[known[0]]
    return found


def _only_number(text: str) -> int | None:
    digits = re.findall(r"\d+", text)
    return int(digits[0]) if len(digits) == 1 and len(digits[0]) <= _MOST_DIGITS else None


def points_of_instants(
    files: Mapping[int, Path], first: int, last: int, read: Callable[[Path], Points]
) -> tuple[Points | None, list[str]]:
    """Points of files by the numbers of their frames, each with its time, and what to say of them.

    Files have 12 bytes a point or more.
    """
    chosen = {number: file for number, file in files.items() if first <= number <= last}
    if not chosen:
        return None, []
    # As many as the largest can hold, before any is read.
    most = max(file.stat().st_size for file in chosen.values()) // 12
    every = max(1, -(-len(chosen) * most // MOST_POINTS))
    notes = []
    if every > 1:
        notes.append(f"points of one instant in {every} are read, as there are more than enough")
    parts = []
    for number, file in [*sorted(chosen.items())][::every]:
        found = read(file)
        time = part_of_clip(number, first, last)
        parts.append((found, np.full(len(found), time, np.float32)))
    positions, colors = (
        np.concatenate([points.array(name).astype(np.float32) for points, _ in parts])
        for name in ("positions", "colors")
    )
    return Points.of_arrays(positions, colors, np.concatenate([times for _, times in parts])), notes


def points_of_array(file: Path) -> Points:
    """Points of a .npy file, positions [m, 3].

    Colours, from 0 to 255, lie beside it: `colors_frame...` for `points3d_frame...`.
    """
    beside = file.with_name(file.name.replace("points3d_", "colors_", 1))
    with reading(file, "positions [m, 3]: write it again"):
        positions = _table(file)
    colors = np.full_like(positions, 0.5)
    if beside != file and beside.is_file():
        with reading(beside, "colours [m, 3], 0 to 255: write it again"):
            colors = _table(beside) / np.float32(255)
            if colors.shape != positions.shape:
                raise Broken(
                    f"has {len(colors):,} colours; expected {len(positions):,}, one for each point"
                    f" of {file.name}"
                )
    return Points.of_arrays(positions, colors.clip(0, 1))


def _table(file: Path) -> npt.NDArray[np.float32]:
    values = array_of(file)
    if values.ndim != 2 or values.shape[1] != 3 or values.dtype.kind not in "fiu":
        raise Broken(f"has an array of {values.dtype} {values.shape}; expected numbers (m, 3)")
    return values.astype(np.float32)
