"""Generated scenes on disk: pictures, COLMAP's files, and folders that are made when asked for."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch

from splat.datasets.colmap_model import MODELS, POINT
from splat.photos import pictures
from splat.types import Camera, Points

Result = TypeVar("Result")


def cached(
    cache: Path | str | None,
    name: str,
    write: partial[Any],
    code: Sequence[Path],
    regardless: Sequence[str] = (),
) -> Path:
    """The folder `name-HASH` below `cache`, which `write` is called with when first asked for.

    `cache` defaults to `splat` in the user's cache. Another version of the code in the folders
    `code`, or other named arguments of `write` than those that are `regardless`, make another
    folder; processes that race for the same one agree on the first.
    """
    asked = sorted((key, value) for key, value in write.keywords.items() if key not in regardless)
    digest = hashlib.blake2b(repr(asked).encode(), digest_size=6)
    for folder in (Path(__file__).parent, *code):
        for source in sorted(folder.glob("*.py")):
            digest.update(source.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME")
    users = (Path(home) if home else Path.home() / ".cache") / "splat"
    made = (users if cache is None else Path(cache)) / f"{name}-{digest.hexdigest()}"
    if not made.is_dir():
        try:
            write(made)
        except OSError:
            # Another process may have finished it in the meantime.
            if not made.is_dir():
                raise
    return made


@contextmanager
def drafted(folder: Path, what: str) -> Iterator[Path]:
    """A folder beside `folder` to write into, which takes its name at the end; if an error comes
    before, nothing is left. FileExistsError where a folder for `what` is there already."""
    if folder.exists():
        raise FileExistsError(
            f"{folder}: exists already; expected a new folder for {what}: remove it or give"
            " another name"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        yield draft
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def each(stand: Sequence[Camera], draw: Callable[[Camera], Result]) -> list[Result]:
    """What `draw` makes of every camera, in their order.

    A view is drawn by one thread from start to end: their number does not change a byte.
    """
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(stand)))) as pool:
        return list(pool.map(draw, stand))


def make(root: Path, *names: str) -> None:
    """Make folders below another."""
    for name in names:
        (root / name).mkdir(parents=True)


def name_of(index: int) -> str:
    """Of the photo of a view."""
    return f"view_{index:03d}.png"


def save(path: Path, image: npt.NDArray[Any], quality: int | None = None) -> None:
    """Write a picture by its suffix: grey, or channels from red on. `quality` is JPEG's."""
    channels = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    if image.ndim == 3:
        image = np.ascontiguousarray(image[..., channels[image.shape[2]]])
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode(path.suffix, image, options)
    assert done
    # cv2.imwrite fails without a reason, and on Windows for names beyond ASCII.
    path.write_bytes(data.tobytes())


def read_image(path: Path) -> npt.NDArray[Any]:
    """What a picture of a generated scene holds, as stored, channels from red on."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: does not exist; expected a picture of a view that was generated: check its"
            " name"
        )
    image = pictures.read(path)
    channels = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    return np.ascontiguousarray(image[..., channels[image.shape[2]]] if image.ndim == 3 else image)


def write_json(path: Path, value: object, indent: int = 1) -> None:
    """Write a value as text that people can read."""
    path.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def write_model(
    folder: Path,
    stand: Sequence[Camera],
    cloud: Points | npt.NDArray[np.void],
    name: Callable[[int], str] = name_of,
) -> None:
    """COLMAP's three binary files: one camera, the poses, points without tracks.

    `cloud` is of points without errors, or has rows of COLMAP's record of a point, whose numbers
    are given here; `name` tells the name of the photo of a view.
    """
    folder.mkdir(parents=True)
    K, width, height = stand[0].K.double(), stand[0].width, stand[0].height
    focals = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    model = list(MODELS).index("PINHOLE")
    camera = struct.pack("<QiiQQ4d", 1, 1, model, width, height, *focals)
    (folder / "cameras.bin").write_bytes(camera)
    images = [struct.pack("<Q", len(stand))]
    for view in stand:
        pose = view.world_to_camera.double().numpy()
        images.append(struct.pack("<i7di", view.index + 1, *quaternion(pose), *pose[:3, 3], 1))
        images.append(name(view.index).encode() + b"\0" + struct.pack("<Q", 0))
    (folder / "images.bin").write_bytes(b"".join(images))
    rows = _records(cloud) if isinstance(cloud, Points) else cloud
    rows["id"] = np.arange(1, len(rows) + 1)
    (folder / "points3D.bin").write_bytes(struct.pack("<Q", len(rows)) + rows.tobytes())


def write_ply(path: Path, cloud: Points) -> None:
    """Points as a .ply, with a property `time` where they have times."""
    named = [(name, "<f4") for name in ("x", "y", "z")]
    named += [(name, "u1") for name in ("red", "green", "blue")]
    named += [] if cloud.times is None else [("time", "<f4")]
    rows = np.zeros(len(cloud.positions), named)
    for i, name in enumerate(("x", "y", "z")):
        rows[name] = cloud.positions[:, i].numpy()
    for i, name in enumerate(("red", "green", "blue")):
        rows[name] = (cloud.colors[:, i] * 255).round().int().numpy()
    if cloud.times is not None:
        rows["time"] = cloud.times.numpy()
    kinds = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property {kinds[kind]} {name}" for name, kind in named]
    path.write_bytes("\n".join([*header, "end_header\n"]).encode() + rows.tobytes())


def _records(cloud: Points) -> npt.NDArray[np.void]:
    rows = np.zeros(len(cloud.positions), POINT)
    rows["xyz"] = cloud.positions.numpy()
    rows["rgb"] = (cloud.colors * 255).round().int().numpy()
    return rows


def quaternion(pose: np.ndarray) -> tuple[float, float, float, float]:
    """(w, x, y, z), w >= 0, of a rotation: top eigenvector of Bar-Itzhack's symmetric matrix."""
    r = pose[:3, :3]
    matrix = np.zeros((4, 4))
    matrix[:3, :3] = r + r.T - np.trace(r) * np.eye(3)
    matrix[:3, 3] = matrix[3, :3] = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    matrix[3, 3] = np.trace(r)
    x, y, z, w = np.linalg.eigh(matrix)[1][:, -1]
    sign = -1.0 if w < 0 else 1.0
    return float(sign * w), float(sign * x), float(sign * y), float(sign * z)
