"""Faces that outlines of photos disprove: masks alone open the holes of a mesh.

Inspired by Landreau & Tamaazousti 2022 (arXiv 2210.09148), who remove the faces that a soft
renderer draws outside of 2-D masks. The rule and its numbers are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from splat.mesh.mesh import Mesh
from splat.mesh.raster import face_coverage
from splat.system.ranges import at_least, check_fields, within
from splat.types import Camera

_LEAST = 0.25
"""Least coverage of a face that is judged, pixels; a face that is a dot has half a pixel."""
_MOST_ROUNDS = 100
"""Most rounds where they go on until nothing changes; each takes away a layer."""


@dataclass(frozen=True)
class Trim:
    """When masks disprove a face."""

    share: Annotated[float, within(0, 1, low_open=True, high_open=True)] = 0.5
    """Share of a face's coverage that must lie outside of a mask for a view to vote against it."""
    views: Annotated[int, at_least(1)] = 3
    """Views that must vote against a face; a single one is enough where all of the face is outside:
    what is of the object lies within its mask in every view."""
    margin: Annotated[int, at_least(1)] = 1
    """Pixels that masks are grown by first: they are never exact, and coverage reaches a pixel
    beyond a face, without which faces seen edge on would go layer by layer."""
    hull: bool = False
    """Faces behind others are judged, too (the visual hull): of masks that show the whole object,
    also where something stands before it. Else only what is seen is, layer after layer."""
    rounds: Annotated[int, at_least(0)] = 0
    """Layers to take away at most; 0: until nothing changes."""
    fewest: Annotated[int, at_least(0)] = 20
    """Parts that are left with fewer faces than this go, too; 0: none."""

    def __post_init__(self) -> None:
        check_fields(self)


def without_disproved(
    mesh: Mesh,
    cameras: Sequence[Camera],
    masks: Sequence[UInt8[np.ndarray, "h w"]],
    options: Trim = Trim(),
    shown: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Mesh:
    """The mesh without the faces that masks disprove, and without small parts that are left of it.

    Mask `i` is 255 where camera `i`, of its size and in the mesh's frame, sees the object; values
    between are shares. Faces keep their order and their places. `shown` may tell people of the
    views of a round.
    """
    if not cameras or len(cameras) != len(masks):
        raise ValueError(
            f"there are {len(cameras)} cameras and {len(masks)} masks; expected one mask a camera"
        )
    grown = [
        _grown(mask, camera, options.margin) for mask, camera in zip(masks, cameras, strict=True)
    ]
    for _ in range(options.rounds or _MOST_ROUNDS):
        gone = _disproved(mesh, cameras, grown, options, shown)
        if not gone.any():
            break
        mesh = mesh.with_faces(~gone)
        if options.hull or not len(mesh.faces):
            break  # What others hide counted already.
    return _tidied(mesh, options.fewest)


def _disproved(
    mesh: Mesh,
    cameras: Sequence[Camera],
    masks: Sequence[NDArray[np.float64]],
    options: Trim,
    shown: Callable[[Iterable[int]], Iterable[int]],
) -> Bool[np.ndarray, "f"]:
    votes, proof = np.zeros(len(mesh.faces), np.int64), np.zeros(len(mesh.faces), bool)
    for i in shown(range(len(cameras))):
        coverage = face_coverage(mesh, cameras[i], masks[i], options.hull, doubtful=True)
        judged = coverage.total >= _LEAST
        votes += judged & (coverage.outside > options.share * coverage.total)
        proof |= judged & coverage.whole & (coverage.outside >= coverage.total)
    return np.asarray(proof | (votes >= options.views))


def _grown(mask: UInt8[np.ndarray, "h w"], camera: Camera, margin: int) -> NDArray[np.float64]:
    """A mask in [0, 1], its outline moved outward by so many pixels."""
    if mask.shape != (camera.height, camera.width):
        raise ValueError(
            f"a mask is {mask.shape[1]}x{mask.shape[0]} pixels, its camera {camera.width}x"
            f"{camera.height}; expected the same size: resize one of them"
        )
    side = 2 * margin + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(mask, disc), np.float64) / 255


def _tidied(mesh: Mesh, fewest: int) -> Mesh:
    """The mesh with one fan of faces around every vertex, and without parts of fewer faces.

    Where parts touch in a vertex only, as along ragged borders, each takes a vertex of its own.
    """
    count = len(mesh.faces)
    if not count:
        return mesh
    corner = np.arange(3 * count).reshape(count, 3)
    first, second = corner.ravel(), np.roll(corner, -1, 1).ravel()
    ends = np.stack([mesh.faces.ravel(), np.roll(mesh.faces, -1, 1).ravel()], 1)
    swap = ends[:, 0] > ends[:, 1]
    low, high = np.where(swap, second, first), np.where(swap, first, second)
    edge = np.min(ends, 1) * len(mesh.vertices) + np.max(ends, 1)
    order = np.argsort(edge, kind="stable")
    same = np.flatnonzero(np.diff(edge[order]) == 0)
    before, after = order[same], order[same + 1]
    number = _connected(
        3 * count, np.append(low[before], high[before]), np.append(low[after], high[after])
    )
    at = np.zeros(number.max() + 1, np.int64)
    at[number] = mesh.faces.ravel()
    colors = None if mesh.colors is None else mesh.colors[at]
    split = Mesh(mesh.vertices[at], number.reshape(count, 3), colors)
    start, end = split.faces[:, :2].ravel(), split.faces[:, 1:].ravel()
    part = _connected(len(at), start, end)[split.faces[:, 0]]
    return split.with_faces(np.bincount(part)[part] >= fewest)


def _connected(n: int, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """Connected component of each of `n` things that are linked in pairs."""
    graph = coo_matrix((np.ones(len(start), np.int8), (start, end)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
