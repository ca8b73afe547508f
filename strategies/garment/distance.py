"""Distances to a surface: to the nearest triangle, and as a grid that is asked at every step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree
from torch import Tensor

from splat.mesh import Mesh
from splat.types import Frame

CELLS = 128
"""Cells of the grid along the largest extent of a body: 14 mm of a person."""
MARGIN = 4
"""Cells of the grid around the body."""
_EXACT = 2.0
"""Cells from the surface within which the grid holds distances to triangles."""
_TRIED = 8
"""Triangles of which the nearest one is found, those with the nearest samples."""
_CHUNK = 1 << 15


class Surface:
    """Triangles, of which the nearest to a point can be asked for."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        corners = mesh.vertices[mesh.faces]
        # Long triangles get more samples: nearness to one is nearness to a part of them.
        edges = np.linalg.norm(corners - np.roll(corners, -1, 1), axis=2).max(1)
        self.step = step = max(float(np.median(edges)), 1e-12)
        """About how far samples of it are from each other."""
        points, faces = [], []
        levels = np.clip(np.ceil(edges / (1.5 * step)).astype(np.int64), 1, 64)
        for level in np.unique(levels):
            some = np.flatnonzero(levels == level)
            for weights in _lattice(int(level)):
                points.append(np.einsum("k,fkj->fj", weights, corners[some]))
                faces.append(some)
        self._faces = np.concatenate(faces)
        self._tree = cKDTree(np.concatenate(points))
        self._corners = corners

    def about(self, points: Float[ndarray, "n 3"]) -> Float[ndarray, "n"]:
        """How far the nearest samples are, which is no less than how far the surface is."""
        distance: Float[ndarray, "n"] = self._tree.query(points)[0]
        return distance

    def nearest(
        self, points: Float[ndarray, "n 3"]
    ) -> tuple[Float[ndarray, "n"], Int[ndarray, "n"], Float[ndarray, "n 3"]]:
        """How far the surface is, its nearest face, and the weights of that face's corners."""
        found = [self._nearest(points[i : i + _CHUNK]) for i in range(0, len(points), _CHUNK)]
        if not found:
            return np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 3))
        distance, face, weights = zip(*found, strict=True)
        return np.concatenate(distance), np.concatenate(face), np.concatenate(weights)

    def _nearest(
        self, points: Float[ndarray, "n 3"]
    ) -> tuple[Float[ndarray, "n"], Int[ndarray, "n"], Float[ndarray, "n 3"]]:
        _, index = self._tree.query(points, k=min(_TRIED, len(self._faces)))
        candidates = self._faces[index.reshape(len(points), -1)]
        weights = closest(points[:, None], self._corners[candidates])
        place = np.einsum("nck,nckj->ncj", weights, self._corners[candidates])
        distance = np.linalg.norm(place - points[:, None], axis=2)
        rows, best = np.arange(len(points)), distance.argmin(1)
        return distance[rows, best], candidates[rows, best], weights[rows, best]


def _lattice(level: int) -> Float[ndarray, "m 3"]:
    """Weights of corners, evenly over a triangle: its middle, and more for a higher level."""
    if level == 1:
        return np.full((1, 3), 1 / 3)
    n = level
    return np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]) / n


def closest(
    points: Float[ndarray, "n 1 3"], corners: Float[ndarray, "n c 3 3"]
) -> Float[ndarray, "n c 3"]:
    """Weights of corners of the point of each triangle that is nearest to a point."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    area = np.maximum(uu * vv - uv * uv, 1e-300)
    beta, gamma = (vv * uw - uv * vw) / area, (uu * vw - uv * uw) / area
    inner = np.stack([1 - beta - gamma, beta, gamma], -1)
    best, least = inner, np.where((inner >= 0).all(-1), 0.0, np.inf)
    inside = np.isfinite(least)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, way = corners[..., first, :], corners[..., second, :] - corners[..., first, :]
        length = np.maximum((way * way).sum(-1), 1e-300)
        along = np.clip(((points - start) * way).sum(-1) / length, 0, 1)
        away = ((start + along[..., None] * way - points) ** 2).sum(-1)
        weights = np.zeros((*along.shape, 3))
        weights[..., first], weights[..., second] = 1 - along, along
        nearer = ~inside & (away < least)
        best = np.where(nearer[..., None], weights, best)
        least = np.where(nearer, away, least)
    return np.asarray(best)


def contained(
    mesh: Mesh, low: Float[ndarray, "3"], cell: float, counts: tuple[int, int, int]
) -> Bool[ndarray, "x y z"]:
    """Which places of a grid a mesh winds around: by the crossings of its faces along each of the
    three axes, at least two of which have to agree, since meshes of people have small holes."""
    votes = np.zeros(counts, np.int8)
    corners = (mesh.vertices[mesh.faces] - low) / cell
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        votes += _winding(corners, mesh.crosses[:, axis], axis, others, counts) != 0
    return np.asarray(votes >= 2)


def _winding(
    corners: Float[ndarray, "f 3 3"],
    facing: Float[ndarray, "f"],
    axis: int,
    others: list[int],
    counts: tuple[int, int, int],
) -> Int[ndarray, "x y z"]:
    """How often the surface winds around each place, seen along an axis."""
    # Rays pass a little beside the places, so that none goes through an edge of a regular mesh.
    flat = corners[..., others] - [1.2e-4, 2.3e-4]
    first = np.clip(np.ceil(flat.min(1)), 0, None).astype(np.int64)
    size = np.array([counts[k] for k in others])
    last = np.minimum(np.floor(flat.max(1)).astype(np.int64) + 1, size)
    wide = np.maximum(last - first, 0)
    pairs = wide[:, 0] * wide[:, 1]
    face = np.repeat(np.arange(len(flat)), pairs)
    local = np.arange(len(face)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    i, j = np.divmod(local, np.maximum(wide[face, 1], 1))
    place = first[face] + np.stack([i, j], 1)
    a, b, c = (flat[face, k] for k in range(3))
    u, v, w = b - a, c - a, place - a
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    safe = np.where(area == 0, 1.0, area)
    beta = (w[:, 0] * v[:, 1] - w[:, 1] * v[:, 0]) / safe
    gamma = (u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0]) / safe
    hit = (area != 0) & (beta >= 0) & (gamma >= 0) & (beta + gamma <= 1)
    face, place, beta, gamma = face[hit], place[hit], beta[hit], gamma[hit]
    along = corners[face, :, axis]
    at = along[:, 0] + beta * (along[:, 1] - along[:, 0]) + gamma * (along[:, 2] - along[:, 0])
    behind = np.clip(np.ceil(at), 0, counts[axis]).astype(np.int64)
    crossings = np.zeros((size[0], size[1], counts[axis] + 1), np.int64)
    # A face that looks along the axis is where a ray along it leaves.
    np.add.at(crossings, (place[:, 0], place[:, 1], behind), np.sign(facing[face]).astype(np.int64))
    whole = crossings[..., ::-1].cumsum(-1)[..., ::-1]
    return np.moveaxis(whole[..., 1:], -1, axis)


@dataclass(frozen=True)
class Depths:
    """The signed distance of a body on a grid, linear between its places."""

    values: Float[Tensor, "x y z"]
    """Distances, units of the input, negative inside."""
    low: tuple[float, float, float]
    """The first place, in the frame of the input."""
    cell: float
    """From one place to the next."""

    def at(
        self, points: Float[Tensor, "n 3"], frame: Frame
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
        """Distances of points in the frame of training, in its units, and their gradients.

        Beyond the grid, how far it is to the grid counts, too.
        """
        values = self.values.to(points.device)
        places = points.detach() / frame.scale + points.new_tensor(frame.centre)
        grid = (places - points.new_tensor(self.low)) / self.cell
        most = points.new_tensor([side - 1 for side in values.shape])
        inner = grid.clamp(min=torch.zeros_like(most), max=most)
        corner = inner.floor().minimum(most - 1).long()
        part = inner - corner
        flat = values.reshape(-1)
        total, slope = part.new_zeros(len(part)), torch.zeros_like(part)
        strides = (values.shape[1] * values.shape[2], values.shape[2], 1)
        for offset in product((0, 1), repeat=3):
            index = sum((corner[:, k] + offset[k]) * stride for k, stride in enumerate(strides))
            value = flat[index]
            weights = [part[:, k] if offset[k] else 1 - part[:, k] for k in range(3)]
            total = total + value * weights[0] * weights[1] * weights[2]
            for k in range(3):
                rest = [weights[m] for m in range(3) if m != k]
                slope[:, k] += (1 if offset[k] else -1) * value * rest[0] * rest[1]
        beyond = (grid - inner) * self.cell
        total = total + beyond.norm(dim=1)
        return total * frame.scale, torch.nn.functional.normalize(slope, dim=1)


def depths_of(mesh: Mesh, cells: int = CELLS) -> Depths:
    """The signed distance of a closed mesh, exact near it and, farther away, to its samples."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    cell = max(float((high - low).max()), 1e-12) / cells
    low = low - MARGIN * cell
    x, y, z = (np.ceil((high - low) / cell).astype(np.int64) + MARGIN + 1).tolist()
    places = np.indices((x, y, z)).reshape(3, -1).T * cell + low
    inside = contained(mesh, low, cell, (x, y, z))
    surface = Surface(mesh.with_faces(~_within(mesh, inside, low, cell)))
    distance = surface.about(places)
    near = np.flatnonzero(distance < _EXACT * cell + surface.step)
    distance[near] = surface.nearest(places[near])[0]
    signed = np.where(inside.reshape(-1), -distance, distance).reshape(x, y, z).astype(np.float32)
    a, b, c = low.tolist()
    return Depths(torch.from_numpy(signed), (a, b, c), cell)


def _within(
    mesh: Mesh, inside: Bool[ndarray, "x y z"], low: Float[ndarray, "3"], cell: float
) -> Bool[ndarray, "f"]:
    """Faces that lie in the body, such as that of a limb in a trunk or of a mouth: those before
    which there is a whole cell of it."""
    normals = mesh.crosses / np.maximum(np.linalg.norm(mesh.crosses, axis=1), 1e-300)[:, None]
    before = mesh.vertices[mesh.faces].mean(1) + cell * normals
    corner = np.floor((before - low) / cell).astype(np.int64)
    corner = np.clip(corner, 0, np.array(inside.shape) - 2)
    whole = np.ones(len(corner), bool)
    for offset in product((0, 1), repeat=3):
        whole &= inside[tuple((corner + offset).T)]
    return whole if not whole.all() else ~whole
