"""The files of a COLMAP reconstruction, binary or text, as they are written."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from splat.system.foreign import Broken, content, reading

EXPECTED = "a whole COLMAP file"
_AT_ONCE = 1 << 20
Floats = tuple[float, ...]


@dataclass(frozen=True)
class Sensor:
    """A row of `cameras`: intrinsics, shared by images."""

    model: str
    width: int
    height: int
    parameters: Floats
    """Focal lengths, principal point (pixels), then distortion."""


@dataclass(frozen=True)
class Pose:
    """A row of `images`: world to camera, as COLMAP and we have it."""

    name: str
    camera: int
    quaternion: Floats
    """(w, x, y, z)."""
    translation: Floats


@dataclass(frozen=True)
class Cloud:
    """All rows of `points3D`."""

    positions: npt.NDArray[np.float64]
    colors: npt.NDArray[np.uint8]


MODELS = {
    "SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8,
    "OPENCV_FISHEYE": 8, "FULL_OPENCV": 12, "FOV": 5, "SIMPLE_RADIAL_FISHEYE": 4,
    "RADIAL_FISHEYE": 5, "THIN_PRISM_FISHEYE": 12, "RAD_TAN_THIN_PRISM_FISHEYE": 16,
    "SIMPLE_DIVISION": 4, "DIVISION": 5, "SIMPLE_FISHEYE": 3, "FISHEYE": 4, "EUCM": 6,
    "EQUIRECTANGULAR": 2,
}  # fmt: skip
"""COLMAP's camera models in the order of their numbers, with the count of their parameters."""

POINT = np.dtype(
    [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")]
)


def holds_model(folder: Path) -> bool:
    """Whether cameras and images are there, binary or text."""
    return _suffix(folder) is not None


def file_of(folder: Path, name: str) -> Path:
    """The file of a model's `cameras` or `images`."""
    return folder / f"{name}{_suffix(folder)}"


def registered(folder: Path) -> int:
    """How many images the model in `folder` holds."""
    file = file_of(folder, "images")
    with reading(file, EXPECTED):
        if file.suffix == ".bin":
            return int(_Reader(file).take("Q", "the number of images")[0])
        return sum(1 for _ in _image_lines(file))


def sensors(folder: Path) -> dict[int, Sensor]:
    """The intrinsics by their number."""
    file = file_of(folder, "cameras")
    with reading(file, EXPECTED):
        return _sensors_binary(file) if file.suffix == ".bin" else _sensors_text(file)


def poses(folder: Path) -> list[Pose]:
    """The registered images, in the order of the file."""
    file = file_of(folder, "images")
    with reading(file, EXPECTED):
        return _poses_binary(file) if file.suffix == ".bin" else _poses_text(file)


def cloud(folder: Path) -> Cloud | None:
    """The points, or None where there is no such file."""
    for suffix, read in ((".bin", _cloud_binary), (".txt", _cloud_text)):
        if (file := folder / f"points3D{suffix}").is_file():
            with reading(file, EXPECTED):
                return read(file)
    return None


def _suffix(folder: Path) -> str | None:
    for suffix in (".bin", ".txt"):
        if all((folder / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
            return suffix
    return None


class _Reader:
    """Little-endian values out of a file, with an error that says where it ends too early."""

    def __init__(self, path: Path) -> None:
        self.data, self.at = content(path), 0

    def take(self, layout: str, what: str) -> tuple[Any, ...]:
        start = self.skip(struct.calcsize("<" + layout), what)
        return struct.unpack_from("<" + layout, self.data, start)

    def text(self, what: str) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise self.truncated(what)
        text = self.data[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return text

    def skip(self, size: int, what: str) -> int:
        start = self.at
        if start + size > len(self.data):
            raise self.truncated(what)
        self.at += size
        return start

    def truncated(self, what: str) -> Broken:
        return Broken(
            f"ends after {len(self.data)} bytes, within {what}; expected {EXPECTED}: copy or export"
            " it again"
        )


def _sensors_binary(file: Path) -> dict[int, Sensor]:
    reader = _Reader(file)
    found = {}
    (count,) = reader.take("Q", "the number of cameras")
    for i in range(count):
        what = f"camera {i + 1} of {count}"
        number, model, width, height = reader.take("iiQQ", what)
        if not 0 <= model < len(MODELS):
            raise Broken(
                f"{what} has model number {model}; expected 0 to {len(MODELS) - 1}: "
                "undistort the photos with COLMAP's image_undistorter"
            )
        name = list(MODELS)[model]
        parameters = reader.take(f"{MODELS[name]}d", what)
        found[number] = Sensor(name, width, height, parameters)
    return found


def _poses_binary(file: Path) -> list[Pose]:
    reader = _Reader(file)
    found = []
    (count,) = reader.take("Q", "the number of images")
    for i in range(count):
        what = f"image {i + 1} of {count}"
        numbers = reader.take("i7di", what)
        name = reader.text(what)
        (observations,) = reader.take("Q", what)
        reader.skip(24 * observations, f"the observations of {what} ({name})")
        found.append(Pose(name, numbers[8], numbers[1:5], numbers[5:8]))
    return found


def _cloud_binary(file: Path) -> Cloud:
    reader = _Reader(file)
    data = reader.data
    (count,) = reader.take("Q", "the number of points")
    track = struct.Struct("<Q").unpack_from
    at, starts = reader.at, []
    for i in range(count):
        if at + POINT.itemsize > len(data):
            raise reader.truncated(f"point {i + 1} of {count}")
        starts.append(at)
        at += POINT.itemsize + 8 * track(data, at + POINT.itemsize - 8)[0]
    if at > len(data):
        raise reader.truncated(f"the track of point {count} of {count}")
    records = np.empty(len(starts), POINT)
    into, raw = records.view(np.uint8).reshape(-1, POINT.itemsize), np.frombuffer(data, np.uint8)
    # Gathers of many records at once: tracks of any length lie between them.
    for i in range(0, len(starts), _AT_ONCE):
        rows = np.asarray(starts[i : i + _AT_ONCE], np.int64)[:, None] + np.arange(POINT.itemsize)
        into[i : i + _AT_ONCE] = raw[rows]
    return Cloud(records["xyz"].copy(), records["rgb"].copy())


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1, less comments; empty ones stay."""
    with open(file, encoding="utf-8", errors="replace") as stream:
        for n, line in enumerate(stream, 1):
            if not line.startswith("#"):
                yield n, line


def _image_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The first of each pair of lines; the second, of observations, may be empty."""
    rest = _lines(file)
    for n, line in rest:
        if line.strip():
            yield n, line
            next(rest, None)


def _broken(line: int, expected: str) -> Broken:
    return Broken(f"line {line} cannot be read; expected `{expected}`: export the model again")


def _sensors_text(file: Path) -> dict[int, Sensor]:
    found = {}
    for n, line in _lines(file):
        words = line.split()
        if not words:
            continue
        try:
            model, parameters = words[1], tuple(map(float, words[4:]))
            if len(parameters) != MODELS[model]:
                raise ValueError
            found[int(words[0])] = Sensor(model, int(words[2]), int(words[3]), parameters)
        except (ValueError, IndexError, KeyError):
            expected = "number MODEL width height parameters, MODEL one of COLMAP's"
            raise _broken(n, expected) from None
    return found


def _poses_text(file: Path) -> list[Pose]:
    found = []
    for n, line in _image_lines(file):
        words = line.strip().split(maxsplit=9)
        try:
            values = tuple(map(float, words[1:8]))
            found.append(Pose(words[9], int(words[8]), values[:4], values[4:]))
        except (ValueError, IndexError):
            raise _broken(n, "number qw qx qy qz tx ty tz camera name") from None
    return found


def _cloud_text(file: Path) -> Cloud:
    numbers = array("d")
    for n, line in _lines(file):
        words = line.split(maxsplit=7)
        if not words:
            continue
        try:
            numbers.extend([float(word) for word in words[1:7]])
            if len(words) < 8:
                raise ValueError
        except ValueError:
            raise _broken(n, "number x y z r g b error track") from None
    values = np.frombuffer(numbers, np.float64).reshape(-1, 6)
    colors = values[:, 3:]
    if not ((colors >= 0) & (colors <= 255)).all():
        raise Broken("has colours that are not from 0 to 255; expected bytes: export it again")
    return Cloud(values[:, :3].copy(), colors.astype(np.uint8))
