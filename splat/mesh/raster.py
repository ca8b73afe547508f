"""How pictures show the faces of a mesh: a soft rasterisation, with and without what hides what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from splat.mesh.mesh import Mesh
from splat.types import Camera

_SOFT = 1.0
"""Half-width of the soft edge of a face, pixels, over which coverage falls from 1 to 0."""
_NEAR = 0.005
"""Relative depth by which a face may lie behind the nearest one and still be seen."""
_PAIRS = 1 << 21
"""Pairs of a face and a pixel in one batch."""


@dataclass(frozen=True)
class Coverage:
    """Coverage of f faces in a picture, by a soft rasterisation."""

    total: Float[np.ndarray, "f"]
    """Pixels that each face covers."""
    outside: Float[np.ndarray, "f"]
    """Those of the covered pixels that lie outside of the mask."""
    whole: Bool[np.ndarray, "f"]
    """Whether the whole face is before the camera and within the picture."""


@dataclass(frozen=True)
class _Fragments:
    """Pairs of a face and a pixel that it covers."""

    face: Int[np.ndarray, "p"]
    pixel: Int[np.ndarray, "p"]
    cover: Float[np.ndarray, "p"]
    """Soft coverage, in (0, 1]."""
    depth: Float[np.ndarray, "p"]
    inside: Bool[np.ndarray, "p"]
    """Whether the pixel's centre lies within the face."""


def face_coverage(
    mesh: Mesh,
    camera: Camera,
    mask: Float[np.ndarray, "h w"],
    hull: bool = False,
    *,
    doubtful: bool = False,
) -> Coverage:
    """Soft coverage of every face in a picture, and how much of it is outside of a mask in [0, 1].

    A pixel counts 1 from a pixel's width within the face's edges on, and 0 from as far outside of
    them. Without `hull` only pixels count in which no other face is clearly nearer. With `doubtful`
    faces that lie wholly within the mask are left at 0, which is much faster.
    """
    n = len(mesh.faces)
    corners, depths, whole = _projected(mesh, camera)
    soft = np.full(n, _SOFT)
    if doubtful:
        soft[_within(corners, mask)] = 0
    drawn = whole & (soft > 0) if hull else whole
    parts = list(_fragments(corners, depths, drawn, soft, camera.width, camera.height))
    total, outside = np.zeros(n), np.zeros(n)
    nearest = np.full(camera.width * camera.height, np.inf)
    if not hull:
        for part in parts:
            np.minimum.at(nearest, part.pixel[part.inside], part.depth[part.inside])
    beyond = 1.0 - mask.ravel()
    for part in parts:
        seen = np.where(soft[part.face] > 0, part.cover, 0.0) if doubtful else part.cover
        if not hull:
            seen = np.where(part.depth <= (1 + _NEAR) * nearest[part.pixel], seen, 0.0)
        total += np.bincount(part.face, seen, minlength=n)
        outside += np.bincount(part.face, seen * beyond[part.pixel], minlength=n)
    inside = (corners >= 0).all((1, 2)) & (corners <= [camera.width, camera.height]).all((1, 2))
    return Coverage(total, outside, whole & inside)


def silhouette(mesh: Mesh, camera: Camera) -> Bool[np.ndarray, "h w"]:
    """Pixels whose centres lie within some face."""
    corners, depths, whole = _projected(mesh, camera)
    pixels = np.zeros(camera.width * camera.height, bool)
    sharp = np.zeros(len(mesh.faces))
    for part in _fragments(corners, depths, whole, sharp, camera.width, camera.height):
        pixels[part.pixel[part.inside]] = True
    return pixels.reshape(camera.height, camera.width)


def _projected(
    mesh: Mesh, camera: Camera
) -> tuple[Float[np.ndarray, "f 3 2"], Float[np.ndarray, "f 3"], Bool[np.ndarray, "f"]]:
    """Corners in pixels, their depths, and which faces lie before the camera."""
    pose = camera.world_to_camera.double().cpu().numpy()
    K = camera.K.double().cpu().numpy()
    x, y, z = (mesh.vertices @ pose[:3, :3].T + pose[:3, 3]).T
    before = z > 1e-6 * max(float(np.abs(z).max(initial=0)), 1e-12)
    safe = np.where(before, z, 1.0)
    pixels = np.stack([K[0, 0] * x / safe + K[0, 2], K[1, 1] * y / safe + K[1, 2]], 1)
    return pixels[mesh.faces], safe[mesh.faces], before[mesh.faces].all(1)


def _boxes(
    corners: Float[np.ndarray, "f 3 2"],
    soft: Float[np.ndarray, "f 1"] | float,
    width: int,
    height: int,
) -> tuple[Int[np.ndarray, "f 2"], Int[np.ndarray, "f 2"]]:
    """First column and row of what may cover pixels, and those behind the last."""
    size = np.array([width, height])
    first = np.clip(np.ceil(corners.min(1) - soft - 0.5), 0, size).astype(np.int64)
    last = np.clip(np.floor(corners.max(1) + soft - 0.5) + 1, 0, size).astype(np.int64)
    return first, last


def _within(
    corners: Float[np.ndarray, "f 3 2"], mask: Float[np.ndarray, "h w"]
) -> Bool[np.ndarray, "f"]:
    """Faces of which no pixel that they may cover is outside of the mask by any share."""
    height, width = mask.shape
    sums = np.zeros((height + 1, width + 1), np.int64)
    sums[1:, 1:] = (mask < 1).cumsum(0).cumsum(1)
    first, last = _boxes(corners, _SOFT, width, height)
    last = np.maximum(first, last)
    (x, y), (right, below) = first.T, last.T
    return np.asarray(sums[below, right] - sums[y, right] - sums[below, x] + sums[y, x] == 0)


def _fragments(
    corners: Float[np.ndarray, "f 3 2"],
    depths: Float[np.ndarray, "f 3"],
    drawn: Bool[np.ndarray, "f"],
    soft: Float[np.ndarray, "f"],
    width: int,
    height: int,
) -> Iterable[_Fragments]:
    """Pairs of a face and a pixel whose centre is no farther than `soft` pixels outside of it.

    All of a face are together.
    """
    first, last = _boxes(corners, soft[:, None], width, height)
    wide = np.maximum(last - first, 0)
    counts = np.where(drawn, wide[:, 0] * wide[:, 1], 0)
    # Outward unit normals of the three edges, and how far the origin lies beyond each.
    ahead = np.roll(corners, -1, 1) - corners
    area = np.sum(ahead[:, 0] * np.stack([-ahead[:, 2, 1], ahead[:, 2, 0]], 1), 1)
    sign = np.where(area < 0, -1.0, 1.0)[:, None]
    length = np.maximum(np.linalg.norm(ahead, axis=2), 1e-12)
    normals = np.stack([ahead[..., 1], -ahead[..., 0]], -1) * (sign / length)[..., None]
    offset = -(normals * corners).sum(2)
    # How far the corner across from an edge is from it: distances to edges over it are weights.
    across = np.maximum(np.abs(area)[:, None] / length, 1e-12)
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + _PAIRS, "right")), start + 1)
        some = slice(start, stop)
        face = np.repeat(np.arange(start, stop), counts[some])
        local = np.arange(len(face)) - np.repeat(ends[some] - counts[some] - before, counts[some])
        start = stop
        if not len(face):
            continue
        down, right = np.divmod(local, wide[face, 0])
        column, row = first[face, 0] + right, first[face, 1] + down
        away = normals[face, :, 0] * (column + 0.5)[:, None]
        away += normals[face, :, 1] * (row + 0.5)[:, None] + offset[face]
        distance = away.max(1)
        near = distance <= np.maximum(soft[face] - 1e-9, 0)
        face, away, distance = face[near], away[near], distance[near]
        # Edge k runs from corner k to the next one, so its weight is of the one after that.
        weight = np.clip(-away / across[face], 1e-9, 1.0)[:, [1, 2, 0]]
        inverse = (weight / depths[face]).sum(1) / weight.sum(1)
        cover = np.clip(0.5 - distance / (2 * _SOFT), 0.0, 1.0)
        yield _Fragments(face, (row * width + column)[near], cover, 1 / inverse, distance <= 0)
