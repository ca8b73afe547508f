"""Colours of a mesh from pictures of what it is a mesh of."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from splat.mesh.mesh import Mesh
from splat.mesh.pictures import Picture

_GREY = 128
_LEAST = 1e-3
"""Least weight of a vertex that was seen."""


@torch.no_grad()
def with_vertex_colors(mesh: Mesh, pictures: Iterable[Picture], tolerance: float) -> Mesh:
    """The mesh with the weighted mean colour of each vertex over the pictures that see it.

    A picture sees a vertex whose depth differs from its own by at most `tolerance`, units of the
    pictures' frame, in which the mesh must lie too; it weighs what its pixel weighs, times the
    cosine of the angle between the vertex's normal and the way to the camera. A vertex that none
    sees takes the colour of the nearest one that is seen; grey if there is none.
    """
    total: Tensor | None = None
    vertices = torch.from_numpy(mesh.vertices).float()
    normals = torch.from_numpy(mesh.normals).float()
    for picture in pictures:
        device = picture.depth.device
        if total is None:
            total = torch.zeros(len(vertices), 4, device=device)
            vertices, normals = vertices.to(device), normals.to(device)
        total += _seen(vertices, normals, picture, tolerance)
    if total is None:
        raise ValueError("no pictures to take colours from; expected one or more")
    seen = (total[:, 3] > _LEAST).cpu().numpy()
    mean = 255 * total[:, :3] / total[:, 3:].clamp_min(_LEAST)
    colors = mean.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    if not seen.any():
        return mesh.colored(np.full_like(colors, _GREY))
    nearest = cKDTree(mesh.vertices[seen]).query(mesh.vertices[~seen])[1]
    colors[~seen] = colors[seen][nearest]
    return mesh.colored(colors)


def _seen(
    vertices: Float[Tensor, "v 3"],
    normals: Float[Tensor, "v 3"],
    picture: Picture,
    tolerance: float,
) -> Float[Tensor, "v 4"]:
    """Weight x RGB, and the weight, of every vertex in one picture."""
    camera = picture.camera
    pose, K = camera.world_to_camera, camera.K
    local = vertices @ pose[:3, :3].T + pose[:3, 3]
    x, y, z = local.unbind(1)
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    inside = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    column, row = u.where(inside, 0).long(), v.where(inside, 0).long()
    facing = -((normals @ pose[:3, :3].T) * local).sum(1) / local.norm(dim=1).clamp_min(1e-12)
    visible = inside & ((picture.depth[row, column] - z).abs() <= tolerance)
    weight = (picture.weight[row, column] * facing.clamp_min(0)).where(visible, 0)[:, None]
    return torch.cat([weight * picture.colors[row, column], weight], 1)
