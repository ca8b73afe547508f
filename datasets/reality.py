"""RealityCapture, RealityScan: "Internal/External camera parameters", a CSV beside the photos."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splat.datasets import photo
from splat.datasets.cameras import lens, pinhole
from splat.datasets.found import OPENGL, folder_of, points_beside, some, world_to_camera
from splat.types import SceneData, View

EXPECTS = "a .csv of cameras (RealityCapture)"
"""What `load` looks for."""
Row = Mapping[str, str]

_NEEDED = ("name", "x", "y", "alt", "heading", "pitch", "roll", "f")
_OTHERS = {"f_35mm": "f", "px_norm": "px", "py_norm": "py"}
"""Columns as later versions call them."""
FILM = 36.0
"""Millimetres of the longer side that focal lengths are given for."""


def load(path: Path, images: str | None = None) -> SceneData | None:
    """The scene of the first CSV with these columns, or None where there is none.

    x, y and alt are east, north and up in the units of the project; heading, pitch and roll are
    degrees: clockwise from north, up from straight down, and about the axis of the camera.
    """
    found = [(file, rows) for file in sorted(path.glob("*.csv")) if (rows := _rows(file))]
    if not found:
        return None
    file, rows = found[0]
    notes = []
    if len(found) > 1:
        notes.append(f"{file.name} was read, of {len(found)} files of cameras")
    folder = folder_of(path, images)
    views, missing = [], []
    for number, row in enumerate(rows, 2):
        image = photo.find(folder, row["name"])
        if image is None:
            missing.append(row["name"])
            continue
        try:
            views.append(_view(image, folder, row))
        except ValueError as error:
            raise ValueError(f"{file}: line {number}: {error}") from None
    notes += some(views, missing, file, folder)
    points, said = points_beside(path, views)
    ordered = tuple(sorted(views, key=lambda view: view.name))
    return SceneData(path, "realitycapture", ordered, (), points, (*notes, *said))


def _rows(file: Path) -> list[dict[str, str]]:
    """A row a photo, by lower-case names of columns; empty: it is another CSV."""
    with open(file, encoding="utf-8-sig", errors="replace", newline="") as stream:
        lines = [line for line in csv.reader(stream) if any(cell.strip() for cell in line)]
    # Some write how many cameras there are first.
    if lines and lines[0][0].strip().lower().startswith("#cameras"):
        lines = lines[1:]
    if not lines:
        return []
    names = [cell.strip().lstrip("#").strip().lower() for cell in lines[0]]
    names = [_OTHERS.get(name, name) for name in names]
    if not set(_NEEDED) <= set(names):
        return []
    return [{n: c.strip() for n, c in zip(names, line, strict=False)} for line in lines[1:]]


def _view(image: Path, folder: Path, row: Row) -> View:
    width, height = photo.size(image)
    longer = max(width, height)
    focal = _number(row, "f") * longer / FILM
    # Offsets are shares of the longer side, though focal lengths are not.
    principal = (
        width / 2 + _number(row, "px") * longer,
        height / 2 + _number(row, "py") * longer,
    )
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(*(_number(row, name) for name in ("heading", "pitch", "roll")))
    matrix[:3, 3] = [_number(row, name) for name in ("x", "y", "alt")]
    pose = world_to_camera(matrix, OPENGL)
    bent = tuple(_number(row, name) for name in ("k1", "k2", "k3", "k4", "t1", "t2"))
    camera = pinhole(pose, (focal, focal), principal, (width, height))
    name = image.relative_to(folder).as_posix()
    return View(name, camera, image, lens=lens("brown", bent) if any(bent) else None)


def _rotation(heading: float, pitch: float, roll: float) -> npt.NDArray[np.float64]:
    """Camera (looking along -z, +y up) to east, north, up; all 0: straight down, north on top."""
    h, p, r = np.radians([-heading, pitch, roll])
    about_z = np.array([[np.cos(h), -np.sin(h), 0], [np.sin(h), np.cos(h), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(r), 0, np.sin(r)], [0, 1, 0], [-np.sin(r), 0, np.cos(r)]])
    found: npt.NDArray[np.float64] = about_z @ about_x @ about_y
    return found


def _number(row: Row, name: str) -> float:
    """A number of a row; columns that are not there are 0."""
    text = row.get(name, "") or "0"
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}; expected a number: export the file again") from None
