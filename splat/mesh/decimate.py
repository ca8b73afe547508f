"""Meshes of fewer faces, by edges that cost the least quadric error (Garland & Heckbert 1997)."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from splat.mesh.mesh import Mesh, merged


def decimated(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with at most about so many faces; vertices take the colours of the nearest."""
    if faces < 4:
        raise ValueError(f"faces is {faces}; expected 4 or more")
    if len(mesh.faces) <= faces:
        return mesh
    try:
        from fast_simplification import simplify
    except ImportError:
        raise ImportError(
            "--faces needs fast-simplification; run `pip install 'splat-toolkit[mesh]'`, or leave"
            " --faces out"
        ) from None
    # Coordinates of maps are large, and what is computed is float32.
    middle = mesh.vertices.mean(0)
    points, corners = simplify(
        (mesh.vertices - middle).astype(np.float32),
        mesh.faces.astype(np.int32),
        target_count=faces,
    )
    smaller = merged(Mesh(points.astype(np.float64) + middle, corners.astype(np.int64)))
    if mesh.colors is None:
        return smaller
    return smaller.colored(mesh.colors[cKDTree(mesh.vertices).query(smaller.vertices)[1]])
