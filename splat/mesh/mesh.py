"""Triangle meshes: measures, transforms and cleaning."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from splat.types import Frame

Points = Float[np.ndarray, "n 3"]
_SAME = 1e-5
"""Distance within which vertices are merged, in mean lengths of an edge."""


@dataclass(frozen=True)
class Mesh:
    """Triangles whose corners run counterclockwise for who looks from outside."""

    vertices: Float[np.ndarray, "v 3"]
    """Positions, float64."""
    faces: Int[np.ndarray, "f 3"]
    """Vertex numbers of the corners, int64."""
    colors: UInt8[np.ndarray, "v 3"] | None = None
    """sRGB colours of the vertices; None: it has none."""

    @property
    def area(self) -> float:
        """Area of all faces together, square units of the vertices."""
        return float(np.linalg.norm(self.crosses, axis=1).sum() / 2)

    @property
    def volume(self) -> float:
        """Signed volume by the divergence theorem, positive if faces look outward.

        It means something for closed meshes only.
        """
        return float((self.vertices[self.faces[:, 0]] * self.crosses).sum() / 6)

    @property
    def crosses(self) -> Float[np.ndarray, "f 3"]:
        """Outward normals of the faces, of twice their area."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return np.cross(b - a, c - a)

    @property
    def normals(self) -> Float[np.ndarray, "v 3"]:
        """Unit normals of the vertices: means over their faces by area; 0 without a face."""
        crosses, n = self.crosses, len(self.vertices)
        total = np.zeros((n, 3))
        for corner in range(3):
            for axis in range(3):
                weights = crosses[:, axis]
                total[:, axis] += np.bincount(self.faces[:, corner], weights, minlength=n)
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return np.asarray(total / np.maximum(length, 1e-300))

    @property
    def watertight(self) -> bool:
        """Whether every edge is shared by two faces, which run along it in opposite ways."""
        return len(self.faces) > 0 and not len(self.border) and self._edges_are_used_once()

    @property
    def border(self) -> Int[np.ndarray, "e 2"]:
        """Boundary edges: those that no second face runs along the other way."""
        ahead, n = self._edges(), len(self.vertices)
        other = ~np.isin(ahead[:, 0] * n + ahead[:, 1], ahead[:, 1] * n + ahead[:, 0])
        return ahead[other]

    def colored(self, colors: UInt8[np.ndarray, "v 3"]) -> Mesh:
        """The same mesh in other colours."""
        return replace(self, colors=colors)

    def out_of(self, frame: Frame) -> Mesh:
        """A mesh of `frame` as it lies in the frame of the input."""
        return replace(self, vertices=self.vertices / frame.scale + np.array(frame.centre))

    def with_faces(self, chosen: Bool[np.ndarray, "f"]) -> Mesh:
        """The submesh of some faces, with the vertices that they need."""
        faces = self.faces[chosen]
        used = np.zeros(len(self.vertices), bool)
        used[faces] = True
        number = np.cumsum(used) - 1
        colors = None if self.colors is None else self.colors[used]
        return Mesh(self.vertices[used], number[faces], colors)

    def _edges(self) -> Int[np.ndarray, "e 2"]:
        """The three edges of every face, in the way that it runs along them."""
        return np.concatenate([self.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])

    def _edges_are_used_once(self) -> bool:
        edges = self._edges()
        return len(np.unique(edges[:, 0] * len(self.vertices) + edges[:, 1])) == len(edges)


def tidied(mesh: Mesh, keep_share: float = 0.02) -> Mesh:
    """The mesh with equal vertices merged, without degenerate faces and small components.

    Components are connected by vertices. Those of less than `keep_share` of the area of the
    largest one are left out.
    """
    if not 0 <= keep_share <= 1:
        raise ValueError(f"keep-share is {keep_share:g}; expected a share from 0 to 1")
    mesh = merged(mesh)
    if not len(mesh.faces) or not keep_share:
        return mesh
    part = _parts(mesh)
    areas = np.bincount(part, np.linalg.norm(mesh.crosses, axis=1))
    return mesh.with_faces(areas[part] >= keep_share * areas.max())


def merged(mesh: Mesh) -> Mesh:
    """The mesh with vertices at one place merged, without degenerate and duplicate faces."""
    if not len(mesh.faces):
        return mesh.with_faces(np.ones(0, bool))
    edges = mesh.vertices[mesh.faces[:, 0]] - mesh.vertices[mesh.faces[:, 1]]
    step = max(_SAME * float(np.linalg.norm(edges, axis=1).mean()), 1e-300)
    places = np.rint((mesh.vertices - mesh.vertices.min(0)) / step).astype(np.int64)
    first, number = _distinct(places)
    faces = number[mesh.faces]
    colors = None if mesh.colors is None else mesh.colors[first]
    whole = (faces != np.roll(faces, 1, axis=1)).all(1)
    alone = np.zeros(len(faces), bool)
    alone[_distinct(np.sort(faces, axis=1))[0]] = True
    return Mesh(mesh.vertices[first], faces, colors).with_faces(whole & alone)


def _distinct(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each distinct row of three is found first, in order, and which one every row is."""
    order = np.lexsort(rows.T[::-1])
    new = np.append(True, (np.diff(rows[order], axis=0) != 0).any(1))
    group = np.empty(len(rows), np.int64)
    group[order] = np.cumsum(new) - 1
    first = np.minimum.reduceat(order, np.flatnonzero(new))
    by_place = np.argsort(first)
    rank = np.empty_like(by_place)
    rank[by_place] = np.arange(len(by_place))
    return first[by_place], rank[group]


def _parts(mesh: Mesh) -> NDArray[np.int64]:
    """Connected component of every face."""
    start, end = mesh.faces[:, :2].ravel(), mesh.faces[:, 1:].ravel()
    shape = (len(mesh.vertices), len(mesh.vertices))
    graph = coo_matrix((np.ones(len(start), np.int8), (start, end)), shape=shape)
    part = connected_components(graph, directed=False)[1]
    return np.asarray(part[mesh.faces[:, 0]], np.int64)
