"""RealityCapture, RealityScan: "Internal/External camera parameters", a CSV beside the photos."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splat.datasets import photo
from splat.datasets.cameras import lens, pinhole
from splat.datasets.found import (
    OPENGL,
    folder_of,
    name_of,
    points_beside,
    some,
    world_to_camera,
)
from splat.scene import SceneData, View
from splat.system.foreign import check_claim, number_in, part, reading

EXPECTS = "a .csv of cameras (RealityCapture)"
"""What `load` looks for."""
Row = Mapping[str, str]

_NEEDED = ("name", "x", "y", "alt", "heading", "pitch", "roll", "f")
_OTHERS = {"f_35mm": "f", "px_norm": "px", "py_norm": "py"}
"""Columns as later versions call them."""
_EXPECTED = "a CSV of cameras: export it again"
_CELL = 150
"""Bytes of memory that a cell takes at most, beside what it says."""
FILM = 36.0
"""Millimetres of the longer side that focal lengths are given for."""


def load(path: Path, images: str | None = None) -> SceneData | None:
    """The scene of the first CSV with these columns, or None where there is none.

    x, y and alt are east, north and up in the units of the project; heading, pitch and roll are
    degrees: clockwise from north, up from straight down, and about the axis of the camera.
    """
    found = []
    for file in sorted(path.glob("*.csv")):
        with reading(file, _EXPECTED):
            if rows := _rows(file):
                found.append((file, rows))
    if not found:
        return None
    file, rows = found[0]
    notes = []
    if len(found) > 1:
        notes.append(f"{file.name} was read, of {len(found)} files of cameras")
    folder = folder_of(path, images)
    views, missing = [], []
    with reading(file, _EXPECTED):
        for number, row in enumerate(rows, 2):
            name = row.get("name", "")
            image = photo.find(folder, name)
            if image is None:
                missing.append(name)
                continue
            with part(f"line {number}"):
                views.append(_view(image, folder, row))
        notes += some(views, missing, file, folder)
    points, said = points_beside(path, views)
    ordered = tuple(sorted(views, key=lambda view: view.name))
    return SceneData(path, "realitycapture", ordered, (), points, (*notes, *said))


def _rows(file: Path) -> list[dict[str, str]]:
    """A row a photo, by lower-case names of columns; empty: it is another CSV."""
    with open(file, encoding="utf-8-sig", errors="replace", newline="") as stream:
        lines = (line for line in csv.reader(stream) if any(cell.strip() for cell in line))
        try:
            head = next(lines, [])
            # Some write how many cameras there are first.
            if head and head[0].strip().lower().startswith("#cameras"):
                head = next(lines, [])
        except csv.Error:
            return []
        names = [cell.strip().lstrip("#").strip().lower() for cell in head]
        names = [_OTHERS.get(name, name) for name in names]
        if not set(_NEEDED) <= set(names):
            return []
        size, cells = os.fstat(stream.fileno()).st_size, 0
        rows = []
        for line in lines:
            cells += len(names) + 2
            check_claim(_CELL * cells, size, "cells")
            rows.append({n: c.strip() for n, c in zip(names, line, strict=False)})
    return rows


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
    name = name_of(image, folder)
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
    with part(name):
        return number_in(row.get(name) or "0")
