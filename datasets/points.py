"""Point clouds to start from: read from PLY, cleaned, and tested against the cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from splat.types import Camera, Points, SceneData

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
_RANDOM = "training starts from random points inside the camera frusta"


def points_in_view(points: Points, cameras: Sequence[Camera]) -> Bool[Tensor, "n"]:
    """Which points lie in front of one of the cameras and inside its picture."""
    positions = points.positions.double()
    seen = torch.zeros(len(positions), dtype=torch.bool)
    for camera in cameras:
        pose, K = camera.world_to_camera.double(), camera.K.double()
        local = positions @ pose[:3, :3].T + pose[:3, 3]
        depth = local[:, 2]
        x = K[0, 0] * local[:, 0] + K[0, 2] * depth
        y = K[1, 1] * local[:, 1] + K[1, 2] * depth
        inside = (x >= 0) & (x <= camera.width * depth) & (y >= 0) & (y <= camera.height * depth)
        seen |= (depth > 0) & inside
    return seen


def cleaned(scene: SceneData) -> SceneData:
    """The scene without points that are NaN or infinite; an error if no camera sees the rest."""
    points, notes = scene.points, scene.notes
    if points is None:
        return replace(scene, notes=(*notes, f"there are no points: {_RANDOM}"))
    good = torch.isfinite(points.positions).all(1) & torch.isfinite(points.colors).all(1)
    if not bool(good.all()):
        dropped = int((~good).sum())
        notes += (f"{dropped} of {len(good)} points hold NaN or infinity and were dropped",)
        points = Points(points.positions[good], points.colors[good])
    if len(points.positions) == 0:
        return replace(scene, points=None, notes=(*notes, f"there are no points: {_RANDOM}"))
    cameras = [view.camera for view in (*scene.train, *scene.test)]
    # Most often the first camera settles it.
    if not any(bool(points_in_view(points, [camera]).any()) for camera in cameras):
        raise ValueError(
            f"{scene.path}: none of the {len(points.positions)} points lies before any of the "
            f"{len(cameras)} cameras and in its picture; expected points that the photos show: "
            "check that poses and points are of one frame, with the axes of the format"
        )
    return replace(scene, points=points, notes=notes)


def read_ply(path: Path) -> Points:
    """Positions and colours of the vertices; grey where there are no colours."""
    data = path.read_bytes()
    end = data.find(b"end_header")
    body = data.find(b"\n", end) + 1
    if not data.startswith(b"ply") or end < 0 or body == 0:
        raise ValueError(f"{path}: is not a PLY file; expected a header that begins with `ply`")
    header = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()]
    binary, count, fields = _layout(header, path)
    if binary:
        dtype = np.dtype(fields)
        if len(data) < body + count * dtype.itemsize:
            raise _truncated(path, count)
        table = np.frombuffer(data, dtype, count, body)
        columns = {name: table[name].astype(np.float64) for name, _ in fields}
    else:
        lines = data[body:].decode("ascii", "replace").splitlines()[:count]
        try:
            rows = np.array([line.split()[: len(fields)] for line in lines], np.float64)
        except ValueError:
            raise _truncated(path, count) from None
        if len(rows) < count:
            raise _truncated(path, count)
        rows = rows.reshape(count, len(fields))
        columns = {name: rows[:, i] for i, (name, _) in enumerate(fields)}
    return _points(columns, dict(fields), path)


def _layout(header: list[list[str]], path: Path) -> tuple[bool, int, list[tuple[str, str]]]:
    """Whether it is binary, how many vertices, and name and type of each property."""
    order = next((words[1] for words in header if words[:1] == ["format"]), "")
    elements = [i for i, words in enumerate(header) if words[:1] == ["element"]]
    first = header[elements[0]] if elements else ["", "", "0"]
    rows = header[elements[0] + 1 : (*elements, len(header))[1]] if elements else []
    properties = [words for words in rows if words[:1] == ["property"]]
    fields = [(words[2], _TYPES[words[1]]) for words in properties if words[1] in _TYPES]
    orders = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
    if order not in orders or first[1] != "vertex" or len(fields) != len(properties):
        raise ValueError(
            f"{path}: does not begin with plain vertices; expected a point cloud in PLY"
        )
    kinds = [(name, orders[order] + kind) for name, kind in fields]
    return order != "ascii", int(first[2]), kinds


def _points(columns: dict[str, Any], types: dict[str, str], path: Path) -> Points:
    if any(axis not in columns for axis in "xyz"):
        raise ValueError(f"{path}: has vertices without x, y and z; expected a point cloud")
    positions = torch.from_numpy(np.stack([columns[axis] for axis in "xyz"], 1))
    names = ("red", "green", "blue")
    if any(name not in columns for name in names):
        return Points(positions, torch.full((len(positions), 3), 0.5))
    whole = 1.0 if "f" in types["red"] else float(np.iinfo(types["red"]).max)
    colors = torch.from_numpy(np.stack([columns[name] for name in names], 1) / whole)
    return Points(positions, colors.float())


def _truncated(path: Path, count: int) -> ValueError:
    return ValueError(
        f"{path}: ends before the last of its {count} vertices; expected a whole PLY file: copy "
        "it again"
    )
