"""Blender synthetic (NeRF): `transforms_train.json` and `transforms_test.json`."""

from __future__ import annotations

from pathlib import Path

from splat.datasets.transforms import read
from splat.scene import SceneData, View

EXPECTS = "transforms_train.json (Blender)"
"""What `load` looks for."""


def load(path: Path, images: str | None = None) -> SceneData | None:
    """The scene with its own split, or None. `transforms_val.json` is left unread."""
    file = path / "transforms_train.json"
    if not file.is_file():
        return None
    train = read(file, images)
    notes = train.notes
    test: tuple[View, ...] = ()
    if (held_out := path / "transforms_test.json").is_file():
        frames = read(held_out, images)
        notes, test = (*notes, *frames.notes), tuple(frames.views.values())
    return SceneData(path, "blender", tuple(train.views.values()), test, None, notes)
