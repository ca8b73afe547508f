"""The first surface behind every pixel, piece by piece: each is met only where it can be seen.

Along the ray of a pixel one over the distance to a plane changes linearly from pixel to pixel, so a
convex solid costs a few sums for each pixel of the rectangle that it covers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splat.types import Camera
from worlds.district.pieces import FACES, GROUND, SKY, Floats, Pieces

Doubles = npt.NDArray[np.float64]
NEAR = 0.05
"""Nothing is closer to a camera, metres."""


@dataclass(frozen=True)
class Lens:
    """Rays of a grid of pixels; what belongs to pixel (u, v) is [u, v, 1] times a [3, 3] matrix.

    A camera's rays leave one eye, their directions have camera z 1. The sun's are parallel.
    """

    width: int
    height: int
    start: Doubles
    """[3, 3]: where rays leave, rows by u, v and 1."""
    direction: Doubles
    """[3, 3]"""
    parallel: bool
    to_pixels: Doubles
    """[3, 4]: world to (u z, v z, z), to find the rectangle of a box; z is 1 if parallel."""

    @property
    def floor(self) -> float:
        """Nearness of what is infinitely far."""
        return -np.inf if self.parallel else 0.0

    def planes(self, planes: Doubles) -> tuple[Doubles, npt.NDArray[np.bool_]]:
        """For planes [k, 4]: the nearness by pixel as [k, 3], and which of them rays can enter by.

        Nearness is one over the distance, for parallel rays the distance's opposite.
        """
        normal, offset = planes[:, :3], planes[:, 3]
        steep, gap = normal @ self.direction.T, -(normal @ self.start.T)
        gap[:, 2] += offset
        if self.parallel:
            slope = np.where(np.abs(steep[:, 2:]) < 1e-9, 1e-9, steep[:, 2:])
            return -gap / slope, slope[:, 0] < 0
        far = np.where(np.abs(gap[:, 2:]) < 1e-6, -1e-6, gap[:, 2:])
        return steep / far, far[:, 0] < 0


@dataclass(frozen=True)
class Seen:
    """What every pixel shows."""

    code: npt.NDArray[np.int32]
    """[h, w]: `SKY`, `GROUND`, or 1 + 6 piece + face."""
    near: Floats
    """[h, w]: nearness, see `Lens.planes`."""


def lens_of(camera: Camera, finer: int = 1) -> Lens:
    """The rays of a camera, `finer` x `finer` of them through a pixel."""
    pose, K = camera.world_to_camera.double().numpy(), camera.K.double().numpy()
    turn, eye = pose[:3, :3], -pose[:3, :3].T @ pose[:3, 3]
    # Pixel i of the finer grid has its centre at (i + 1/2) / finer of the camera's.
    grid = np.array([[1 / finer, 0, 0.5 / finer], [0, 1 / finer, 0.5 / finer], [0, 0, 1]])
    start = np.zeros((3, 3))
    start[2] = eye
    direction = (turn.T @ np.linalg.inv(K) @ grid).T
    to_pixels = np.linalg.inv(grid) @ K @ pose[:3]
    return Lens(camera.width * finer, camera.height * finer, start, direction, False, to_pixels)


def lens_along(ray: Doubles, right: Doubles, low: Doubles, high: Doubles, pitch: float) -> Lens:
    """Parallel rays along a unit vector that see the whole box, one every `pitch` metres."""
    across = right - ray * (right @ ray)
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(ray, across)])
    corners = np.stack(np.meshgrid(*np.stack([low, high], 1), indexing="ij"), -1).reshape(-1, 3)
    flat = corners @ axes.T
    least, most = flat.min(0) - 2 * pitch, flat.max(0) + 2 * pitch
    width, height = (int(n) for n in np.ceil((most - least) / pitch))
    first = least @ axes + ray * ((corners @ ray).min() - 1)
    start = np.stack([axes[0] * pitch, axes[1] * pitch, first + axes.sum(0) * pitch / 2])
    direction = np.stack([np.zeros(3), np.zeros(3), ray])
    shift = -(axes @ start[2]) / pitch
    to_pixels = np.zeros((3, 4))
    to_pixels[:2, :3], to_pixels[:2, 3], to_pixels[2, 3] = axes / pitch, shift, 1
    return Lens(width, height, start, direction, True, to_pixels)


def look(lens: Lens, pieces: Pieces) -> Seen:
    """The nearest surface along all rays."""
    h, w = lens.height, lens.width
    u, v = np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)
    ground = lens.planes(np.array([[0.0, 0.0, 1.0, 0.0]]))[0][0]
    near = np.maximum(_affine(ground, u, v), np.float32(lens.floor))
    code = np.where(near > lens.floor, GROUND, SKY).astype(np.int32)
    for index, (x0, x1, y0, y1), nearest in _in_sight(lens, pieces):
        rows, columns = slice(y0, y1), slice(x0, x1)
        before = near[rows, columns]
        if before.min() >= nearest:
            continue
        meet = _ball if pieces.ball[index] else _block
        found, face = meet(lens, pieces, index, u[columns], v[rows])
        ahead = found > before
        np.copyto(before, found, where=ahead)
        np.copyto(code[rows, columns], face.astype(np.int32) + (1 + FACES * index), where=ahead)
    return Seen(code, near)


def _affine(by: Doubles, u: Floats, v: Floats) -> Floats:
    a, b, c = (np.float32(x) for x in by)
    return np.asarray((a * u)[None, :] + (b * v + c)[:, None], np.float32)


def _in_sight(lens: Lens, pieces: Pieces) -> Iterator[tuple[int, tuple[int, int, int, int], float]]:
    """Pieces that may be in the picture, the nearest first: pixels they cover, their nearness."""
    ends = np.stack([pieces.low, pieces.high], 1).astype(np.float64)
    pick = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners = ends[:, pick, [0, 1, 2]]
    local = corners @ lens.to_pixels[:, :3].T + lens.to_pixels[:, 3]
    z, size = local[..., 2], np.array([lens.width, lens.height])
    if lens.parallel:
        ray = lens.direction[2]
        nearest = -((corners - lens.start[2]) @ ray).min(1)
    else:
        nearest = 1 / np.maximum(z.min(1), NEAR)
    inside = (z > NEAR).any(1)
    for axis in (0, 1):
        inside &= (local[..., axis] > 0).any(1)
        inside &= (local[..., axis] < z * size[axis]).any(1)
    flat = local[..., :2] / np.maximum(z, NEAR)[..., None]
    # A box with corners behind the eye may be anywhere in the picture.
    whole = (z <= NEAR).any(1)[:, None]
    low = np.where(whole, 0, np.clip(np.floor(flat.min(1)), 0, size)).astype(int)
    high = np.where(whole, size, np.clip(np.ceil(flat.max(1)) + 1, 0, size)).astype(int)
    shown = np.flatnonzero(inside & (high > low).all(1))
    for index in shown[np.argsort(-nearest[shown], kind="stable")]:
        (x0, y0), (x1, y1) = low[index], high[index]
        yield int(index), (int(x0), int(x1), int(y0), int(y1)), float(nearest[index])


def _block(
    lens: Lens, pieces: Pieces, index: int, u: Floats, v: Floats
) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Nearness of a convex solid, `lens.floor` where rays miss it; and the face they enter by."""
    near, enters = lens.planes(pieces.planes[index])
    found = np.full((len(v), len(u)), np.inf, np.float32)
    face = np.zeros(found.shape, np.uint8)
    leave = np.full(found.shape, lens.floor, np.float32)
    for number in range(FACES):
        here = _affine(near[number], u, v)
        if enters[number]:
            later = here < found
            np.copyto(found, here, where=later)
            face[later] = number
        else:
            np.maximum(leave, here, out=leave)
    found[found < leave] = lens.floor
    # From within a solid, where no camera stands, nothing is entered.
    return (found if enters.any() else np.full_like(found, lens.floor)), face


def _ball(
    lens: Lens, pieces: Pieces, index: int, u: Floats, v: Floats
) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """The same of an ellipsoid: the first root of a quadratic."""
    low, high = (ends[index].astype(np.float64) for ends in (pieces.low, pieces.high))
    centre, half = (low + high) / 2, (high - low) / 2
    start, direction = lens.start / half, lens.direction / half
    start[2] -= centre / half
    fixed, moving = (direction[2], start) if lens.parallel else (start[2], direction)
    parts = [_affine(moving[:, axis], u, v) for axis in range(3)]
    along = sum(part * np.float32(by) for part, by in zip(parts, fixed, strict=True))
    square = sum(part * part for part in parts)
    own = np.float32(fixed @ fixed)
    # Parallel rays: |start + t ray| = 1 for -t; else |eye w + ray| = w for w = 1 / t.
    root = along * along - (own * (square - 1) if lens.parallel else (own - 1) * square)
    under = own if lens.parallel else own - 1
    hit = (root > 0) & (under > 0)
    sign = 1.0 if lens.parallel else -1.0
    found = (sign * along + np.sqrt(np.maximum(root, 0))) / np.float32(max(under, 1e-9))
    return np.where(hit, found, np.float32(lens.floor)), np.zeros(hit.shape, np.uint8)
