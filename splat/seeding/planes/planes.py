"""A photo with depth and normals, as pieces of planes and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy import ndarray

from splat.guidance import fitted_line
from splat.guidance.align import LEAST_POINTS, Kind, Line, Seen, in_depth, line_to_points, visible
from splat.seeding.planes.shift import modes, nearest
from splat.types import Batch, Points

SAMPLES = 16_000
"""About how many pixels of a photo are used."""
TURN = 15.0
"""Largest angle between normals of one direction, degrees."""
APART = 0.04
"""Largest difference of offsets in one plane, in depths of the photo's middle."""
SHARE = 0.015
"""Least share of the photo in a plane."""
GRAZING = 0.1
"""Cosine between a ray and a normal below which the ray grazes the plane and is not used."""
OFF = 0.5
"""Largest relative difference of depth between a pixel and its plane."""
STRETCH = 1.25
"""Largest scale, and its inverse, of a plane's depth fit; beyond it only a shift is fitted."""
JUMP = 0.05
"""Relative difference of depth between neighbours from which there is an edge."""


@dataclass(frozen=True)
class Plane:
    """normal . x = offset, in the frame of training."""

    normal: Float64[ndarray, "3"]
    """Unit, towards the camera that saw it."""
    offset: float
    weight: float
    """Number of pixels, the weight in averages of planes."""


@dataclass(frozen=True)
class Lifted:
    """Pixels of a photo in space."""

    centre: Float64[ndarray, "3"]
    """Position of the camera, frame of training."""
    directions: Float64[ndarray, "n 3"]
    """Directions of pixels, world axes, of camera depth 1."""
    depth: Float64[ndarray, "n"]
    """Aligned depth of pixels, camera z."""
    colors: Float64[ndarray, "n 3"]
    labels: Int64[ndarray, "n"]
    """Number of each pixel's plane in `planes`; -1: none."""
    planes: tuple[Plane, ...]
    spacing: float
    """Distance of two pixels of the grid at depth 1."""

    @property
    def positions(self) -> Float64[ndarray, "n 3"]:
        """Positions of the pixels, frame of training."""
        return np.asarray(self.centre + self.depth[:, None] * self.directions)


@dataclass(frozen=True)
class _Grid:
    """Pixels of a coarse grid whose depth and normal are known."""

    stride: int
    numbers: Int64[ndarray, "y x"]
    """Number of the pixel in each cell of the grid; -1: none."""
    rows: Int64[ndarray, "n"]
    columns: Int64[ndarray, "n"]
    given: Float64[ndarray, "n"]
    normals: Float64[ndarray, "n 3"]


def lifted(batch: Batch, points: Points, kind: Kind) -> Lifted | None:
    """The photo in space, its depth aligned to the points of the scene; None where it cannot be.

    Depth is fitted to the points that the camera sees, then that of each plane to the points on it,
    both by the least absolute residuals (after LighthouseGS, 2025).
    """
    if batch.depth is None or batch.normal is None:
        return None
    grid, seen = _grid(batch), visible(batch, points.positions)
    line = line_to_points(seen, kind)
    if line is None:
        return None
    camera = batch.camera
    pose, K = camera.world_to_camera.double().cpu().numpy(), camera.K.double().cpu().numpy()
    x = (grid.columns + 0.5 - K[0, 2]) / K[0, 0]
    y = (grid.rows + 0.5 - K[1, 2]) / K[1, 1]
    colors = batch.pixels.cpu().numpy()[grid.rows, grid.columns] / 255.0
    view = Lifted(
        centre=-pose[:3, :3].T @ pose[:3, 3],
        directions=np.stack([x, y, np.ones_like(x)], 1) @ pose[:3, :3],
        depth=in_depth(torch.from_numpy(grid.given), line, kind).numpy(),
        colors=colors,
        labels=np.full(len(x), -1, np.int64),
        planes=(),
        spacing=grid.stride / float(K[0, 0]),
    )
    view = replace(view, labels=segmented(view, grid.normals))
    return _cleaned(_refined(view, grid, _on(grid, seen, batch), seen, line, kind), grid)


def segmented(view: Lifted, normals: Float64[ndarray, "n 3"]) -> Int64[ndarray, "n"]:
    """Which plane each pixel is of, -1 for none: by mean shift of the normals, then of the offsets
    of those that agree."""
    labels = np.full(len(normals), -1, np.int64)
    known = view.depth > 0
    if not known.any():
        return labels
    radius = 2 * np.sin(np.radians(TURN) / 2)
    directions = modes(normals[known], radius, SHARE)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    which = np.where(known, nearest(normals, directions, radius), -1)
    apart = APART * float(np.median(view.depth[known]))
    count, positions = 0, view.positions
    for number, direction in enumerate(directions):
        mine = (which == number).nonzero()[0]
        offsets = (positions[mine] @ direction)[:, None]
        levels = modes(offsets, apart, SHARE * len(which) / max(len(mine), 1))
        level = nearest(offsets, levels, apart)
        labels[mine] = np.where(level >= 0, count + level, -1)
        count += len(levels)
    return labels


def on_planes(
    view: Lifted, planes: Sequence[Plane], which: Int64[ndarray, "n"]
) -> Float64[ndarray, "n 3"]:
    """Where the ray of each pixel meets a plane, `which` of them for each pixel; NaN where it
    grazes it, is far from it, or is of none (-1)."""
    places = np.full((len(which), 3), np.nan)
    for number in np.unique(which[which >= 0]):
        mine = (which == number).nonzero()[0]
        plane, rays = planes[int(number)], view.directions[mine]
        slope = rays @ plane.normal
        steep = np.abs(slope) > GRAZING * np.linalg.norm(rays, axis=1)
        depth = (plane.offset - view.centre @ plane.normal) / np.where(steep, slope, 1.0)
        good = steep & (np.abs(depth - view.depth[mine]) < OFF * view.depth[mine])
        places[mine[good]] = view.centre + depth[good, None] * rays[good]
    return places


def _grid(batch: Batch) -> _Grid:
    assert batch.depth is not None and batch.normal is not None
    width, height = batch.camera.width, batch.camera.height
    stride = max(1, round((width * height / SAMPLES) ** 0.5))
    down, across = np.meshgrid(
        np.arange(stride // 2, height, stride), np.arange(stride // 2, width, stride), indexing="ij"
    )
    depth = batch.depth.cpu().numpy()[down, across].astype(np.float64)
    normals = batch.normal.cpu().numpy()[down, across].astype(np.float64)
    known = (depth != 0) & (normals != 0).any(2)
    if batch.mask is not None:
        known &= batch.mask.cpu().numpy()[down, across] != 0
    numbers = np.where(known, known.cumsum().reshape(known.shape) - 1, -1)
    return _Grid(stride, numbers, down[known], across[known], depth[known], normals[known])


def _on(grid: _Grid, seen: Seen, batch: Batch) -> Int64[ndarray, "m"]:
    """Pixel of the grid in which each point is; -1: none."""
    pixels, (height, width) = seen.pixels.cpu().numpy(), grid.numbers.shape
    rows = np.minimum(pixels // batch.camera.width // grid.stride, height - 1)
    columns = np.minimum(pixels % batch.camera.width // grid.stride, width - 1)
    return np.asarray(grid.numbers[rows, columns])


def refitted(depth: Float64[ndarray, "m"], target: Float64[ndarray, "m"]) -> Line:
    """The second fit, of the depth on one plane to that of the points on it.

    A summand alone where the plane's depth varies too little to tell the factor; (1, 0) where there
    are too few points.
    """
    if len(depth) < LEAST_POINTS:
        return 1.0, 0.0
    line = fitted_line(torch.from_numpy(depth), torch.from_numpy(target))
    if line is not None and 1 / STRETCH < line[0] < STRETCH:
        return line
    return 1.0, float(np.median(target - depth))


def _refined(
    view: Lifted, grid: _Grid, at: Int64[ndarray, "m"], seen: Seen, line: Line, kind: Kind
) -> Lifted:
    """The view with its planes, their depth fitted to the points on them, whose pixels are `at`."""
    on = np.where(at >= 0, view.labels[at], -1) if len(view.labels) else at
    first, target = in_depth(seen.given, line, kind).cpu().numpy(), seen.depth.cpu().numpy()
    depth, planes = view.depth.copy(), []
    for label in range(int(view.labels.max(initial=-1)) + 1):
        mine, known = view.labels == label, on == label
        if kind != "metric":
            slope, shift = refitted(first[known], target[known])
            depth[mine] = slope * depth[mine] + shift
        normal = grid.normals[mine].mean(0)
        normal /= np.linalg.norm(normal)
        places = view.centre + depth[mine, None] * view.directions[mine]
        if known.sum() >= LEAST_POINTS:  # points know best where it is
            places = view.centre + target[known, None] * view.directions[at[known]]
        planes.append(Plane(normal, float(np.median(places @ normal)), float(mine.sum())))
    return replace(view, depth=depth, planes=tuple(planes))


def _cleaned(view: Lifted, grid: _Grid) -> Lifted:
    """The view without pixels of no depth, and of no plane at an edge, where depths are mixed."""
    full = np.full(grid.numbers.shape, np.nan)
    full[grid.numbers >= 0] = view.depth
    edge = np.zeros(full.shape, bool)
    for axis in (0, 1):
        jumps = np.abs(np.diff(full, axis=axis)) > JUMP * np.delete(full, -1, axis)
        none = np.zeros_like(np.take(edge, [0], axis))
        edge |= np.concatenate([jumps, none], axis) | np.concatenate([none, jumps], axis)
    kept = (view.depth > 0) & ((view.labels >= 0) | ~edge[grid.numbers >= 0])
    return replace(
        view,
        directions=view.directions[kept],
        depth=view.depth[kept],
        colors=view.colors[kept],
        labels=view.labels[kept],
    )
