"""Rows on a surface: flat Gaussians, evenly spread, that lie along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from splat.core.edit import Rows
from splat.math import GOLDEN, logit_of, quaternions, sh_from_rgb
from splat.mesh import Mesh
from splat.types import Frame

_SECOND = 0.7548776662466927
"""The plastic number's inverse: with its square it spreads points evenly over a square (R2)."""
THICK = 0.15
"""Thickness of a row over its extent along the surface."""
EXTENT = 0.6
"""Standard deviation of a row along the surface, in distances to its neighbours."""


@dataclass(frozen=True)
class Samples:
    """Points on a mesh, evenly by area; always the same ones."""

    faces: Int[ndarray, "n"]
    """The face of each."""
    corners: Float[ndarray, "n 3"]
    """Weights of the face's corners."""
    spacing: float
    """About how far one is from the next."""

    def on(self, mesh: Mesh) -> Float[ndarray, "n 3"]:
        """Where they lie on a mesh of these faces."""
        return self.of(mesh.vertices, mesh)

    def of(self, values: Float[ndarray, "v k"], mesh: Mesh) -> Float[ndarray, "n k"]:
        """Values of vertices at the points."""
        return np.asarray(np.einsum("nc,nck->nk", self.corners, values[mesh.faces[self.faces]]))

    def normals(self, mesh: Mesh) -> Float[ndarray, "n 3"]:
        """Unit normals there, smooth over faces."""
        normals = self.of(mesh.normals, mesh)
        return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)[:, None])


def sampled(mesh: Mesh, count: int) -> Samples:
    """So many points on a mesh."""
    areas = np.linalg.norm(mesh.crosses, axis=1) / 2
    if not areas.sum() > 0:
        raise ValueError("the mesh has no area; expected triangles to draw points from")
    ends = np.cumsum(areas)
    order = np.arange(count)
    at = (order + 0.5) / count * ends[-1]
    faces = np.minimum(np.searchsorted(ends, at, side="right"), len(ends) - 1)
    u, v = (0.5 + order * _SECOND) % 1, (0.5 + order * _SECOND**2) % 1
    root = np.sqrt(u)
    corners = np.stack([1 - root, root * (1 - v), root * v], 1)
    return Samples(faces, corners, float(np.sqrt(ends[-1] / count)))


def rows_on(
    places: Float[ndarray, "n 3"],
    normals: Float[ndarray, "n 3"],
    spacing: float,
    rgb: Float[ndarray, "n 3"] | tuple[float, float, float],
    opacity: float,
    frame: Frame,
    like: Rows,
) -> dict[str, Tensor]:
    """Columns of flat Gaussians at places of the input's frame, of the kind that `like` has."""
    mean, n = like["mean"], len(places)
    centre = np.array(frame.centre)
    size = spacing * frame.scale * EXTENT
    sh = like["sh"].new_zeros(n, *like["sh"].shape[1:])
    colors = torch.from_numpy(np.broadcast_to(np.asarray(rgb, np.float64), (n, 3)).copy())
    sh[:, 0] = sh_from_rgb(colors).to(sh)
    scales = mean.new_tensor([size, size, size * THICK]).log()
    return {
        "mean": torch.from_numpy((places - centre) * frame.scale).to(mean),
        "quat": quaternions(_upright(torch.from_numpy(normals))).to(mean),
        "log_scale": scales.expand(n, 3).clone(),
        "opacity_logit": mean.new_full((n,), logit_of(opacity)),
        "sh": sh,
    }


def _upright(normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """Rotations whose third axis is a normal."""
    z = torch.nn.functional.normalize(normals, dim=1)
    # The axis that is least along it, so that the product is never short.
    other = torch.nn.functional.one_hot(z.abs().argmin(1), 3).to(z)
    x = torch.nn.functional.normalize(torch.linalg.cross(other, z), dim=1)
    return torch.stack([x, torch.linalg.cross(z, x), z], 2)


def golden(count: int) -> Float[ndarray, "n"]:
    """Numbers in [0, 1) that are evenly spread however many are taken."""
    return np.asarray((np.arange(count) * GOLDEN) % 1)
