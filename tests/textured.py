"""Photos of a corner of three boards full of texture, drawn exactly: what poses can be found in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scenes import facing

Array = npt.NDArray[np.float64]

TEXELS = 640
"""Of a board's side, which is 2 units long."""
_BOARDS = (  # origin and the two sides of the floor and of two walls
    ((-1.0, -1.0, 0.0), (2.0, 0.0, 0.0), (0.0, 2.0, 0.0)),
    ((-1.0, 1.0, 2.0), (2.0, 0.0, 0.0), (0.0, 0.0, -2.0)),
    ((-1.0, -1.0, 2.0), (0.0, 2.0, 0.0), (0.0, 0.0, -2.0)),
)


@dataclass(frozen=True)
class Eye:
    """A camera."""

    world_to_camera: Array
    focal: float
    width: int
    height: int

    @property
    def centre(self) -> Array:
        rotation, shift = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return np.asarray(-rotation.T @ shift)


def eyes(count: int, width: int = 320, height: int = 240) -> list[Eye]:
    """Cameras on an arc before the corner, level, at two heights in turns; z is up."""
    found = []
    for i in range(count):
        angle = np.radians(-45 + (i - (count - 1) / 2) * min(8.0, 60 / count))
        centre = np.array([2.6 * np.cos(angle), 2.6 * np.sin(angle), 0.9 + 0.35 * (i % 2)])
        found.append(Eye(facing(centre, np.array([-0.3, 0.3, 0.7])), 0.9 * width, width, height))
    return found


def picture(eye: Eye, seed: int = 0) -> npt.NDArray[np.uint8]:
    """What the camera sees, RGB: each board by its homography, drawn twice as large and shrunk."""
    width, height = 2 * eye.width, 2 * eye.height
    K = np.array([[2 * eye.focal, 0, width / 2], [0, 2 * eye.focal, height / 2], [0, 0, 1]])
    image = np.full((height, width, 3), 90, np.uint8)
    for i, board in enumerate(_BOARDS):
        origin, along, down = (np.array(row) for row in board)
        plane = np.stack([along / TEXELS, down / TEXELS, origin], 1)
        rotation, shift = eye.world_to_camera[:3, :3], eye.world_to_camera[:3, 3]
        to_image = K @ (rotation @ plane + np.outer(shift, [0, 0, 1]))
        texture = _texture(10 * seed + i)
        shape = (width, height)
        drawn = cv2.warpPerspective(texture, to_image, shape, flags=cv2.INTER_AREA)
        there = cv2.warpPerspective(np.full(texture.shape[:2], 255, np.uint8), to_image, shape)
        image[there > 127] = drawn[there > 127]
    small = cv2.resize(image, (eye.width, eye.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def save(path: Path, image: npt.NDArray[np.uint8]) -> Path:
    """RGB, as a JPEG of quality 95 or a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path


def photos(folder: Path, count: int = 8, seed: int = 0) -> list[Eye]:
    """`eyes` and their photos `p00.jpg` and on in a folder."""
    stand = eyes(count)
    for i, eye in enumerate(stand):
        save(folder / f"p{i:02d}.jpg", picture(eye, seed))
    return stand


@cache
def _texture(seed: int) -> npt.NDArray[np.uint8]:
    """Noise of many scales, in colour."""
    draw = np.random.default_rng(seed)
    total = np.zeros((TEXELS, TEXELS, 3))
    for cells in (8, 24, 64, 160):
        noise = draw.normal(size=(cells, cells, 3)).astype(np.float32)
        total += cv2.resize(noise, (TEXELS, TEXELS), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 36 * total, 0, 255).astype(np.uint8)
