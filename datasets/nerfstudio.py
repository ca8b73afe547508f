"""nerfstudio and instant-ngp: `transforms.json` beside the photos."""

from __future__ import annotations

import os
from pathlib import Path

from splat.datasets.found import plain
from splat.datasets.photo import is_there
from splat.datasets.transforms import Frames, names_of, read, shortened
from splat.formats.point_cloud import read_points
from splat.scene import Clip, Points, SceneData, View
from splat.system.foreign import Record, reading

EXPECTS = "transforms.json (nerfstudio, instant-ngp)"
"""What `load` looks for."""


def load(path: Path, images: str | None = None) -> SceneData | None:
    """The scene of `transforms.json`, or None where there is none.

    Poses and points are used as the file has them: `applied_transform` tells where the frame
    came from and changes neither. `clip_seconds` is ours: how long a clip is whose times are
    parts of it.
    """
    file = path / "transforms.json"
    if not file.is_file():
        return None
    frames = shortened(read(file, images))
    with reading(file, "names of files: export it again"):
        points, notes = points_of(path, frames.meta)
        seconds = frames.meta.number("clip_seconds", 0.0, least=0)
        train, test = _own_split(frames)
    if test and (unused := len(frames.views) - len(train) - len(test)):
        notes += (f"{unused} frames belong to neither its training nor its test split",)
    clip = Clip(seconds, 0) if seconds > 0 else None
    return SceneData(path, "nerfstudio", train, test, points, (*frames.notes, *notes), clip)


def _own_split(frames: Frames) -> tuple[tuple[View, ...], tuple[View, ...]]:
    """By the lists of file names in the file; without a list of tests, all is to train."""
    tests = names_of(frames.meta, ("test_filenames", "val_filenames"))
    trains = names_of(frames.meta, ("train_filenames",))
    test = tuple(view for name, view in frames.views.items() if plain(name) in tests)
    if not test:
        return tuple(frames.views.values()), ()
    train = tuple(
        view
        for name, view in frames.views.items()
        if plain(name) not in tests and (not trains or plain(name) in trains)
    )
    return train, test


def points_of(path: Path, meta: Record) -> tuple[Points | None, tuple[str, ...]]:
    """The points that a file names, and what to say where they are not read."""
    if meta.get("ply_file_path") is None:
        return None, ()
    name = meta.text("ply_file_path")
    file = path / plain(name)
    if not Path(os.path.abspath(file)).is_relative_to(os.path.abspath(path)):
        return None, (
            f"the points {name} that transforms.json names lie outside of its folder and are not"
            " read: copy them there",
        )
    if not is_there(file):
        return None, (f"the points {name} that transforms.json names do not exist",)
    return read_points(file), ()
