"""How far two surfaces are from each other."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from splat.mesh.mesh import Mesh, Points


def chamfer(points: Points, truth: Points) -> tuple[float, float]:
    """Mean distance from points of one surface to the nearest of another, and back.

    Accuracy and completeness, in the units of the points; their mean is the Chamfer distance.
    """
    if not len(points) or not len(truth):
        raise ValueError(
            f"there are {len(points):,} and {len(truth):,} points; expected some of both surfaces"
        )
    ahead = cKDTree(truth).query(points, workers=-1)[0]
    back = cKDTree(points).query(truth, workers=-1)[0]
    return float(ahead.mean()), float(back.mean())


def surface_points(mesh: Mesh, n: int, seed: int = 0) -> Points:
    """Points drawn evenly over the area of a mesh, float64 [n, 3]; the same for the same seed."""
    areas = np.linalg.norm(mesh.crosses, axis=1)
    if not areas.sum() > 0:
        raise ValueError("the mesh has no area; expected faces to draw points from")
    draw = np.random.default_rng(seed)
    ends = areas.cumsum()
    face = np.searchsorted(ends, draw.random(n) * ends[-1], side="right")
    a, b, c = (mesh.vertices[mesh.faces[face, corner]] for corner in range(3))
    # The root makes points even within a triangle.
    u, v = np.sqrt(draw.random((n, 1))), draw.random((n, 1))
    return np.asarray((1 - u) * a + u * (1 - v) * b + u * v * c)
