"""Tiny scenes on disk: photos of three points, one a colour channel, drawn where they project."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from splat.photos.lens import distort
from splat.photos.photo import photograph
from splat.types import Camera, Lens, SceneData, View

Array = npt.NDArray[np.float64]

POINTS = np.array([[0.5, 0.1, -0.2], [-0.4, 0.35, 0.3], [0.05, -0.45, 0.2]])
"""World positions of the red, the green and the blue point."""
WIDTH, HEIGHT = 96, 80
FOCAL, PRINCIPAL = (90.0, 88.0), (49.0, 39.5)
MODEL_NUMBERS = {
    "SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "RADIAL": 3, "OPENCV": 4,
    "OPENCV_FISHEYE": 5, "FULL_OPENCV": 6, "FOV": 7, "SIMPLE_RADIAL_FISHEYE": 8,
    "RADIAL_FISHEYE": 9, "THIN_PRISM_FISHEYE": 10, "RAD_TAN_THIN_PRISM_FISHEYE": 11,
    "SIMPLE_DIVISION": 12, "DIVISION": 13, "SIMPLE_FISHEYE": 14, "FISHEYE": 15, "EUCM": 16,
    "EQUIRECTANGULAR": 17,
}  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """A posed photo to write."""

    name: str
    world_to_camera: Array
    focal: tuple[float, float] = FOCAL
    lens: Lens | None = None

    def pixels(self, points: Array = POINTS) -> Array:
        """Where the points are in the photo, lens included; [n, 2]."""
        local = points @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        x, y = local[:, 0] / local[:, 2], local[:, 1] / local[:, 2]
        if self.lens is not None:
            x, y = distort(self.lens, x, y)
        (fx, fy), (cx, cy) = self.focal, PRINCIPAL
        return np.stack([fx * x + cx, fy * y + cy], 1)

    def picture(self) -> npt.NDArray[np.uint8]:
        """RGB: a soft dot in each channel."""
        return np.stack([dot(x, y) for x, y in self.pixels()], 2)


def shots(count: int = 9, **options: Any) -> list[Shot]:
    """Cameras on a ring round the points, all looking at their middle."""
    return [
        Shot(f"{i:03d}.png", looking(2 * np.pi * i / count, 3 + 0.1 * i), **options)
        for i in range(count)
    ]


def looking(angle: float, distance: float) -> Array:
    """World to camera of a camera at this angle of a ring in the x-z plane, a little above it."""
    position = distance * np.array([np.sin(angle), -0.3, -np.cos(angle)])
    return facing(position, np.zeros(3), (0.0, -1.0, 0.0))


def facing(eye: Array, at: Array, up: Sequence[float] = (0.0, 0.0, 1.0)) -> Array:
    """World to camera of a camera at `eye` that looks at a point."""
    forward = (at - eye) / np.linalg.norm(at - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ eye
    return pose


def unprojected(camera: Camera, depth: Tensor) -> Tensor:
    """World points of the pixels' centres, float64 [h, w, 3]."""
    v, u = torch.meshgrid(
        torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij"
    )
    pixels = torch.stack([u, v, torch.ones_like(u)], -1).double()
    local = pixels @ camera.K.double().inverse().T * depth.double()[..., None]
    pose = camera.world_to_camera.double()
    return (local - pose[:3, 3]) @ pose[:3, :3]


def dot(x: float, y: float, sigma: float = 2.0) -> npt.NDArray[np.uint8]:
    """A Gaussian whose middle is at (x, y), the centre of the first pixel being (0.5, 0.5)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    squared = (columns - x) ** 2 + (rows - y) ** 2
    return np.rint(255 * np.exp(-squared / (2 * sigma**2))).astype(np.uint8)


def centroids(image: npt.NDArray[np.uint8]) -> Array:
    """Middle of the light in each channel, pixels; [3, 2]."""
    weights = image.astype(np.float64)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    total = weights.sum((0, 1))
    sums = [(weights * grid[:, :, None]).sum((0, 1)) for grid in (columns, rows)]
    return np.stack(sums, 1) / total[:, None]


def projected(camera: Camera, points: Array = POINTS) -> Array:
    """Where a pinhole camera of ours sees the points, pixels; [n, 2]."""
    pose, K = camera.world_to_camera.double(), camera.K.double()
    local = torch.from_numpy(points) @ pose[:3, :3].T + pose[:3, 3]
    image = local @ K.T
    return (image[:, :2] / image[:, 2:]).numpy()


def views_of(scene: SceneData) -> list[View]:
    """All views by name."""
    return sorted((*scene.train, *scene.test), key=lambda view: view.name)


def check_axes(scene: SceneData, tolerance: float = 0.05) -> None:
    """The light of each photo is where its camera sees the points, at two sizes."""
    for view in views_of(scene):
        for factor in (1, 2):
            camera = view.camera.resized(WIDTH // factor, HEIGHT // factor)
            pixels, _ = photograph(view, camera.width, camera.height, (0, 0, 0))
            found, expected = centroids(pixels), projected(camera)
            assert np.abs(found - expected).max() < tolerance


def write_picture(path: Path, image: npt.NDArray[Any]) -> None:
    """RGB, RGBA or grey, of 8 or 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if image.ndim == 3:
        image = image[:, :, [2, 1, 0, 3][: image.shape[2]]]
    assert cv2.imwrite(str(path), image)


def write_colmap(
    root: Path,
    photos: Sequence[Shot],
    *,
    binary: bool = True,
    sensor: tuple[str, Sequence[float]] = ("PINHOLE", (*FOCAL, *PRINCIPAL)),
    size: tuple[int, int] = (WIDTH, HEIGHT),
    points: Array | None = POINTS,
    sparse: str = "sparse/0",
    images: str | None = "images",
) -> Path:
    """A COLMAP scene; `images` None writes no photos."""
    model = root / sparse
    model.mkdir(parents=True, exist_ok=True)
    if images is not None:
        for shot in photos:
            write_picture(root / images / shot.name, shot.picture())
    writer = _write_binary if binary else _write_text
    writer(model, photos, sensor, size, points)
    return root


def _write_binary(
    model: Path,
    photos: Sequence[Shot],
    sensor: tuple[str, Sequence[float]],
    size: tuple[int, int],
    points: Array | None,
) -> None:
    name, parameters = sensor
    cameras = struct.pack("<QiiQQ", 1, 7, MODEL_NUMBERS[name], *size)
    cameras += struct.pack(f"<{len(parameters)}d", *parameters)
    (model / "cameras.bin").write_bytes(cameras)
    images = struct.pack("<Q", len(photos))
    for i, shot in enumerate(photos):
        pose = (*quaternion(shot.world_to_camera[:3, :3]), *shot.world_to_camera[:3, 3])
        images += struct.pack("<i7di", i + 1, *pose, 7) + shot.name.encode() + b"\0"
        seen = shot.pixels()
        images += struct.pack("<Q", len(seen))
        images += b"".join(struct.pack("<ddq", x, y, j + 1) for j, (x, y) in enumerate(seen))
    (model / "images.bin").write_bytes(images)
    if points is not None:
        cloud = [struct.pack("<Q", len(points))]
        for i, point in enumerate(points):
            track = [(shot + 1, i) for shot in range(i % (len(photos) + 1))]
            cloud.append(struct.pack("<Q3d3BdQ", i + 1, *point, *_color(i), 0.5, len(track)))
            cloud += [struct.pack("<ii", *pair) for pair in track]
        (model / "points3D.bin").write_bytes(b"".join(cloud))


def _write_text(
    model: Path,
    photos: Sequence[Shot],
    sensor: tuple[str, Sequence[float]],
    size: tuple[int, int],
    points: Array | None,
) -> None:
    name, parameters = sensor
    numbers = " ".join(map(repr, map(float, parameters)))
    (model / "cameras.txt").write_text(f"# cameras\n7 {name} {size[0]} {size[1]} {numbers}\n")
    lines = ["# images, two lines each"]
    for i, shot in enumerate(photos):
        pose = (*quaternion(shot.world_to_camera[:3, :3]), *shot.world_to_camera[:3, 3])
        lines.append(f"{i + 1} {' '.join(map(str, pose))} 7 {shot.name}")
        # Every second image has no observations: an empty line.
        lines.append("" if i % 2 else " ".join(f"{x} {y} -1" for x, y in shot.pixels()))
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    if points is not None:
        rows = [
            f"{i + 1} {' '.join(map(str, point))} {' '.join(map(str, _color(i)))} 0.5 1 {i}"
            for i, point in enumerate(points)
        ]
        (model / "points3D.txt").write_text("# points\n" + "\n".join(rows) + "\n")


def write_transforms(
    root: Path,
    photos: Sequence[Shot],
    meta: Mapping[str, Any] | None = None,
    *,
    file: str = "transforms.json",
    folder: str = "images",
    suffix: str = ".png",
    alpha: npt.NDArray[np.uint8] | None = None,
) -> Path:
    """A `transforms.json` with its photos; `file_path` ends in `suffix`, the photo in .png."""
    frames = []
    for shot in photos:
        picture = shot.picture()
        if alpha is not None:
            picture = np.dstack([picture, alpha])
        write_picture(root / folder / shot.name, picture)
        pose = np.linalg.inv(shot.world_to_camera) @ np.diag([1.0, -1.0, -1.0, 1.0])
        path = f"{folder}/{Path(shot.name).stem}{suffix}"
        frames.append({"file_path": path, "transform_matrix": pose.tolist()})
    content = {**(MEASURES if meta is None else meta), "frames": frames}
    (root / file).write_text(json.dumps(content))
    return root


MEASURES: Mapping[str, Any] = {
    "fl_x": FOCAL[0], "fl_y": FOCAL[1], "cx": PRINCIPAL[0], "cy": PRINCIPAL[1],
    "w": WIDTH, "h": HEIGHT,
}  # fmt: skip


def write_ply(path: Path, points: Array, *, binary: bool = True) -> None:
    """A point cloud with colours."""
    kind = "binary_little_endian" if binary else "ascii"
    header = f"ply\nformat {kind} 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    header += "end_header\n"
    rows = [(*point, *_color(i)) for i, point in enumerate(points)]
    if binary:
        body = b"".join(struct.pack("<3f3B", *row) for row in rows)
    else:
        body = "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()
    path.write_bytes(header.encode() + body)


def quaternion(rotation: Array) -> tuple[float, float, float, float]:
    """(w, x, y, z) of a rotation: the eigenvector that its matrix K of Bar-Itzhack has."""
    r = rotation
    K = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [0, r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2]],
            [0, 0, r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2]],
            [0, 0, 0, r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    w, x, y, z = np.linalg.eigh(K, "U")[1][:, -1]
    return float(w), float(x), float(y), float(z)


def files_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _color(i: int) -> tuple[int, int, int]:
    return ((255, 0, 0), (0, 255, 0), (0, 0, 255))[i % 3]
