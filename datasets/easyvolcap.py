"""EasyVolcap, EasyMocap: `intri.yml` and `extri.yml` beside a folder of frames for each camera."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from splat.datasets import photo, rig
from splat.datasets.cameras import lens, pinhole
from splat.datasets.found import Array, world_to_camera
from splat.formats.point_cloud import read_points
from splat.scene import Points, SceneData, View
from splat.system.foreign import Broken, content, finite, part, reading

EXPECTS = "intri.yml, extri.yml and images/00/, images/01/, ... (EasyVolcap)"
"""What `load` looks for."""
_AGAIN = "cameras as OpenCV writes them: export them again"
_KEY = re.compile(r"^([A-Za-z_][\w.\-]*)[ \t]*:", re.MULTILINE)
_DATA = re.compile(r"\bdata[ \t]*:\s*\[([^\]]*)\]")
_SIDE = re.compile(r"\b(rows|cols)[ \t]*:[ \t]*(\d{1,9})\b")


def load(path: Path, images: str | None = None) -> SceneData | None:
    """Every frame of every camera, or None where there are no such files.

    `intri.yml` has `K_CC` [3, 3] in pixels, `D_CC` or `dist_CC` (k1, k2, p1, p2, k3), and the size
    as `H_CC` and `W_CC` where it is not that of the photos; `extri.yml` has `T_CC` [3] and `Rot_CC`
    [3, 3] or `R_CC` [3] (Rodrigues), world to camera in axes as ours are. Frames are
    `images/CC/FFFFFF.jpg`, and where there are `pcds/FFFFFF.ply`, these are points of instants.
    """
    intri, extri = path / "intri.yml", path / "extri.yml"
    if not (intri.is_file() and extri.is_file()):
        return None
    folder = path / (images or "images")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: there is no such folder; expected those of the cameras in it: take the"
            " videos apart, or name their folder with --images"
        )
    inner = sorted(each for each in folder.iterdir() if each.is_dir())
    frames = {each.name: own for each in inner if (own := rig.numbered(each))}
    if not frames:
        raise FileNotFoundError(
            f"{folder}: holds no frames; expected {folder.name}/00/000000.jpg and so on"
        )
    posed = _cameras(intri, extri, frames)
    views = rig.views(frames, posed, lambda camera, image: f"{camera}/{image.name}")
    points, notes = _points(path, frames)
    return SceneData(path, "easyvolcap", views, (), points, (*rig.told(frames, posed), *notes))


def _cameras(intri: Path, extri: Path, frames: rig.Frames) -> dict[str, rig.Posed]:
    """What makes views, for each camera that both files have."""
    with reading(intri, _AGAIN):
        inner = _Storage(content(intri).decode("utf-8"))
    with reading(extri, _AGAIN):
        outer = _Storage(content(extri).decode("utf-8"))
    posed = {}
    for camera, own in frames.items():
        if f"K_{camera}" not in inner or f"T_{camera}" not in outer:
            continue
        size = photo.size(next(iter(own.values())))
        with reading(extri, _AGAIN), part(f"camera {camera}"):
            pose = _pose(outer, camera)
        with reading(intri, _AGAIN), part(f"camera {camera}"):
            posed[camera] = _posed(inner, camera, pose, size)
    if not posed:
        raise ValueError(
            f"{extri}: has no pose of any of the {len(frames)} cameras that there are frames of"
            f" (such as {next(iter(frames))}); expected Rot_CC and T_CC with the names of their"
            " folders, and K_CC in intri.yml"
        )
    return posed


def _pose(outer: _Storage, camera: str) -> Array:
    place = outer.matrix(f"T_{camera}", 3)
    if f"Rot_{camera}" in outer:
        turn = outer.matrix(f"Rot_{camera}", 9).reshape(3, 3)
    else:
        turn = np.asarray(cv2.Rodrigues(outer.matrix(f"R_{camera}", 3))[0], np.float64)
    # The inverse of a camera to world, so that what is no rotation is told as elsewhere.
    return world_to_camera(np.concatenate([turn.T, -turn.T @ place[:, None]], 1))


def _posed(inner: _Storage, camera: str, pose: Array, size: tuple[int, int]) -> rig.Posed:
    K = inner.matrix(f"K_{camera}", 9).reshape(3, 3)
    if abs(K[0, 1]) > 1e-3 * abs(K[0, 0]):
        raise Broken("its camera is skew; expected one without")
    sides = [inner.number(f"{key}_{camera}") for key in "WH"]
    wide, high = (int(own) if own > 0 else side for own, side in zip(sides, size, strict=True))
    bent = None
    if key := next((k for k in (f"D_{camera}", f"dist_{camera}") if k in inner), None):
        k1, k2, p1, p2, k3 = [*inner.matrix(key, 4, 5), 0.0][:5]
        bent = lens("radial", (k1, k2, p1, p2, k3))
    seen = pinhole(pose, (K[0, 0], K[1, 1]), (K[0, 2], K[1, 2]), (wide, high))
    return lambda name, image: (View(name, seen, image, None, bent),)


def _points(path: Path, frames: rig.Frames) -> tuple[Points | None, list[str]]:
    first, last = rig.span(frames)
    folder = path / "pcds"
    files = sorted(folder.glob("*.ply")) if folder.is_dir() else []
    numbers = {int(file.stem): file for file in files if file.stem.isdecimal()}
    return rig.points_of_instants(numbers, first, last, read_points)


class _Storage(Mapping[str, str]):
    """The entries of a YAML file that OpenCV wrote: matrices and numbers by their keys."""

    def __init__(self, text: str) -> None:
        keys = [*_KEY.finditer(text)]
        ends = [key.start() for key in keys[1:]] + [len(text)]
        self._entries = {k[1]: text[k.end() : end] for k, end in zip(keys, ends, strict=False)}

    def __getitem__(self, key: str) -> str:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def number(self, key: str) -> float:
        """A number, or -1 where there is none."""
        return float(self._entries.get(key, "-1"))

    def matrix(self, key: str, *counts: int) -> Array:
        """The numbers of a matrix, one of so many in all."""
        if key not in self._entries:
            raise Broken(f"has no {key}; expected it")
        found = _DATA.search(self._entries[key])
        words = found[1].replace(",", " ").split() if found else []
        sides = {side: int(count) for side, count in _SIDE.findall(self._entries[key])}
        rows, cols = sides.get("rows", len(words)), sides.get("cols", 1)
        if len(words) not in counts or rows * cols != len(words):
            wanted = " or ".join(map(str, counts))
            raise Broken(f"has {len(words)} numbers in {key}; expected a matrix of {wanted}")
        values = [finite(float(word)) for word in words]
        if None in values:
            raise Broken(f"has {key} with NaN or infinite numbers; expected finite ones")
        return np.array(values, np.float64)
