"""nerfies and HyperNeRF: `dataset.json`, `metadata.json`, and a file for each camera."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from splat.datasets.cameras import lens, pinhole
from splat.datasets.found import array_of, photos_in, some, world_to_camera
from splat.scene import Points, SceneData, View
from splat.system.foreign import Broken, Record, reading, record

EXPECTS = "dataset.json and camera/ (nerfies, HyperNeRF)"
"""What `load` looks for."""
SCALES = ("1x", "2x", "4x", "8x", "16x")
"""Folders of photos below rgb/, the largest first."""


def load(path: Path, images: str | None = None) -> SceneData | None:
    """The photos of both lists with their times, or None where there are no such files.

    Times are the numbers of the warps, of the first to the last. Positions are as the files have
    them: the centre and the scale of `scene.json` are for other programs.
    """
    file = path / "dataset.json"
    if not file.is_file() or not (path / "camera").is_dir():
        return None
    with reading(file, "lists of ids: fetch the scene again"):
        listed = record(file, "`ids`, `train_ids`, `val_ids`")
        names = [listed.texts(key) for key in ("ids", "train_ids", "val_ids")]
    known = path / "metadata.json"
    with reading(known, "a record for each id: fetch the scene again"):
        times = _times(record(known, "a record for each id"))
    folder = _photos(path, images)
    there = photos_in(folder)
    train, test = names[1] or names[0], names[2]
    wanted = [name for name in dict.fromkeys([*train, *test]) if name in there]
    missing = [name for name in dict.fromkeys([*train, *test]) if name not in there]
    views = {name: _view(path, name, there[name], times.get(name, 0.0)) for name in wanted}
    notes = some(list(views.values()), missing, file, folder)
    out = set(test)

    def of(chosen: Iterable[str]) -> tuple[View, ...]:
        found = [views[name] for name in chosen if name in views]
        return tuple(sorted(found, key=lambda view: view.name))

    kept = of(name for name in train if name not in out)
    return SceneData(path, "nerfies", kept, of(out), _points(path), tuple(notes))


def _times(known: Record) -> dict[str, float]:
    """Parts of the clip by id."""
    numbers = {}
    for name in known:
        entry = known.record(name)
        key = "warp_id" if entry.get("warp_id") is not None else "time_id"
        numbers[name] = entry.number(key, 0.0, least=0)
    last = max(numbers.values(), default=0.0)
    return {name: number / last if last else 0.0 for name, number in numbers.items()}


def _photos(path: Path, images: str | None) -> Path:
    if images is not None:
        folder = path / images
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: there is no such folder; expected photos: name one as rgb/2x"
            )
        return folder
    for scale in SCALES:
        if (path / "rgb" / scale).is_dir():
            return path / "rgb" / scale
    raise FileNotFoundError(
        f"{path}: has no photos in rgb/1x or a smaller scale; expected them there: fetch them, or"
        " name their folder with --images"
    )


def _view(path: Path, name: str, image: Path, time: float) -> View:
    file = path / "camera" / f"{name}.json"
    with reading(file, "a camera of nerfies: fetch the scene again"):
        camera = record(file, "`orientation`, `position` and `focal_length`")
        turn, place = camera.numbers("orientation", 3, 3), camera.numbers("position", 3)
        pose = world_to_camera(np.concatenate([turn.T, place[:, None]], 1))
        focal = camera.number("focal_length", above=0)
        x, y = camera.numbers("principal_point", 2)
        width, height = (int(side) for side in camera.numbers("image_size", 2))
        if abs(camera.number("skew", 0.0)) > 1e-3 * focal:
            raise Broken("its camera is skew; expected one without")
        k1, k2, k3 = _or_zeros(camera, "radial_distortion", 3)
        p1, p2 = _or_zeros(camera, "tangential_distortion", 2)
        aspect = camera.number("pixel_aspect_ratio", 1.0, above=0)
        bent = lens("radial", (k1, k2, p1, p2, k3))
        seen = pinhole(pose, (focal, focal * aspect), (x, y), (width, height), time)
    return View(image.name, seen, image, None, bent)


def _or_zeros(camera: Record, key: str, count: int) -> list[float]:
    return camera.numbers(key, count).tolist() if camera.get(key) is not None else [0.0] * count


def _points(path: Path) -> Points | None:
    file = path / "points.npy"
    if not file.is_file():
        return None
    with reading(file, "positions [n, 3]: fetch the scene again"):
        positions = array_of(file)
        if positions.ndim != 2 or positions.shape[1] != 3:
            raise Broken(f"has an array of shape {positions.shape}; expected (n, 3)")
        places = positions.astype(np.float64)
    return Points.of_arrays(places, np.full((len(places), 3), 0.5, np.float32))
