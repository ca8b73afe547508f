"""The scene on disk: a COLMAP folder that any reader takes, and the truth beside it."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch

from splat.datasets.demo.points import points as scattered
from splat.datasets.demo.poses import cameras
from splat.datasets.demo.trace import DemoView, render
from splat.datasets.drafts import drafted, vacant
from splat.types import Camera, Points

PINHOLE = 1
"""COLMAP's number for the camera model (fx, fy, cx, cy)."""


def write(
    folder: Path | str,
    *,
    views: int = 60,
    width: int = 400,
    height: int = 300,
    samples: int = 5,
    points: int = 6_000,
    seed: int = 0,
) -> None:
    """Draw the scene into a new folder, which appears when it is complete.

    `images/` and `sparse/0/` are what COLMAP writes. `truth/` holds, by the name of the picture,
    `depth/*.npy` (float32 camera z), `normals/*.png` (world axes, 0 to 255 for -1 to 1),
    `masks/*.png` (255 on the things) and `objects/*.png` (numbers). `seed` scatters the points.
    """
    folder = Path(folder)
    vacant(folder, "the built-in scene")
    with drafted(folder) as draft:
        stand = cameras(views, width, height)
        _write_views(draft, stand, samples)
        write_model(draft / "sparse" / "0", stand, scattered(points, seed))


def cached(
    cache: Path | str | None = None,
    *,
    views: int = 60,
    width: int = 400,
    height: int = 300,
    samples: int = 5,
    points: int = 6_000,
    seed: int = 0,
) -> Path:
    """The folder of the scene, drawn when it is first asked for (see `write`).

    `cache` defaults to `splat` in the user's cache. Another version of the scene's code, or other
    arguments, make another folder; processes that race for the same one agree on the first.
    """
    root = Path(cache) if cache is not None else user_cache()
    sizes = (views, width, height, samples, points, seed)
    folder = root / f"demo-{_fingerprint(sizes)}"
    if not folder.is_dir():
        try:
            write(
                folder, views=views, width=width, height=height, samples=samples, points=points,
                seed=seed,
            )  # fmt: skip
        except OSError:
            # Another process may have finished it in the meantime.
            if not folder.is_dir():
                raise
    return folder


def truth(folder: Path | str, name: str) -> DemoView:
    """What `write` wrote about the picture `name`; normals are as exact as 8 bits hold them."""
    folder = Path(folder)
    known = folder / "truth"
    normals = read_image(known / "normals" / name, cv2.IMREAD_COLOR)[..., ::-1] / 127.5 - 1
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return DemoView(
        torch.from_numpy(read_image(folder / "images" / name, cv2.IMREAD_COLOR)[..., ::-1].copy()),
        torch.from_numpy(np.load(known / "depth" / f"{Path(name).stem}.npy")),
        torch.from_numpy(normals.astype(np.float32)),
        torch.from_numpy(read_image(known / "objects" / name, cv2.IMREAD_GRAYSCALE)),
    )


def user_cache() -> Path:
    """Where generated scenes are kept."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "splat"


def _fingerprint(sizes: tuple[int, ...]) -> str:
    """Changes with the arguments and with the code that draws the scene."""
    digest = hashlib.blake2b(repr(sizes).encode(), digest_size=6)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def name_of(index: int) -> str:
    """Of the photo of a view."""
    return f"view_{index:03d}.png"


def _write_views(folder: Path, stand: Sequence[Camera], samples: int) -> None:
    for part in ("images", "truth/depth", "truth/normals", "truth/masks", "truth/objects"):
        (folder / part).mkdir(parents=True)

    def draw(camera: Camera) -> None:
        _write_view(folder, name_of(camera.index), render(camera, samples))

    # A view is drawn by one thread from start to end: their number does not change a byte.
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(stand)))) as pool:
        list(pool.map(draw, stand))


def _write_view(folder: Path, name: str, view: DemoView) -> None:
    known = folder / "truth"
    normals = np.round((view.normals.numpy() + 1) * 127.5).astype(np.uint8)
    save(folder / "images" / name, view.image.numpy()[..., ::-1])
    save(known / "normals" / name, normals[..., ::-1])
    save(known / "masks" / name, view.mask.numpy())
    save(known / "objects" / name, view.objects.numpy())
    np.save(known / "depth" / f"{Path(name).stem}.npy", view.depth.numpy())


def save(path: Path, image: np.ndarray) -> None:
    """Write a PNG, channels in OpenCV's order."""
    done, data = cv2.imencode(".png", image)
    assert done
    # cv2.imwrite fails without a reason, and on Windows for names beyond ASCII.
    path.write_bytes(data.tobytes())


def read_image(path: Path, flags: int) -> np.ndarray:
    """What a PNG holds, as OpenCV decodes it with `flags`."""
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    if image is None:
        raise ValueError(
            f"{path}: is not a whole picture; expected one of the built-in scene: remove its "
            "folder and write it again"
        )
    return np.asarray(image)


def write_model(folder: Path, stand: Sequence[Camera], cloud: Points) -> None:
    """COLMAP's three binary files: one camera, the poses, points without tracks."""
    folder.mkdir(parents=True)
    K, width, height = stand[0].K.double(), stand[0].width, stand[0].height
    focals = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    camera = struct.pack("<QiiQQ4d", 1, 1, PINHOLE, width, height, *focals)
    (folder / "cameras.bin").write_bytes(camera)
    images = [struct.pack("<Q", len(stand))]
    for view in stand:
        pose = view.world_to_camera.double().numpy()
        images.append(struct.pack("<i7di", view.index + 1, *_quaternion(pose), *pose[:3, 3], 1))
        images.append(name_of(view.index).encode() + b"\0" + struct.pack("<Q", 0))
    (folder / "images.bin").write_bytes(b"".join(images))
    rows = [struct.pack("<Q", len(cloud.positions))]
    colors = (cloud.colors * 255).round().int().tolist()
    for i, (where, color) in enumerate(zip(cloud.positions.tolist(), colors, strict=True)):
        rows.append(struct.pack("<Q3d3BdQ", i + 1, *where, *color, 0.0, 0))
    (folder / "points3D.bin").write_bytes(b"".join(rows))


def _quaternion(pose: np.ndarray) -> tuple[float, float, float, float]:
    """(w, x, y, z) of the rotation: the top eigenvector of Bar-Itzhack's symmetric matrix."""
    r = pose[:3, :3]
    matrix = np.zeros((4, 4))
    matrix[:3, :3] = r + r.T - np.trace(r) * np.eye(3)
    matrix[:3, 3] = matrix[3, :3] = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    matrix[3, 3] = np.trace(r)
    x, y, z, w = np.linalg.eigh(matrix)[1][:, -1]
    sign = -1.0 if w < 0 else 1.0
    return float(sign * w), float(sign * x), float(sign * y), float(sign * z)
