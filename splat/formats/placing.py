"""Similarity transforms of Gaussians: rotated, scaled, translated, harmonics included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from splat.kernels.harmonics import basis
from splat.types import Gaussians

_DEGREE = 3
_BENT = 1e-4
"""How far a rotation's rows may be from unit and upright: float32, written with few digits."""


@dataclass(frozen=True)
class Placing:
    """A similarity transform, as it acts on positions, rotations, scales and harmonics."""

    turn: Float[Tensor, "3 3"]
    """The rotation of positions, which comes first."""
    scale: float
    """Factor on positions and scales."""
    shift: Float[Tensor, "3"]
    """Translation, which comes last."""
    quats: Float[Tensor, "4 4"]
    """The rotation of quaternions (w, x, y, z)."""
    harmonics: Float[Tensor, "16 16"]
    """The rotation of SH coefficients."""

    @classmethod
    def of(cls, matrix: NDArray[np.floating[Any]]) -> Placing | None:
        """The transform of a matrix [4, 4] (column vectors); None where it is no similarity."""
        with np.errstate(all="ignore"):
            scale = float(np.cbrt(np.linalg.det(matrix[:3, :3])))
            turn = matrix[:3, :3] / scale
            good = scale > 0 and np.abs(turn @ turn.T - np.eye(3)).max() < _BENT
        if not (good and np.isfinite(matrix).all()):
            return None
        rotation = Rotation.from_matrix(turn)
        turn = rotation.as_matrix()
        x, y, z, w = rotation.as_quat()
        product = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
        return cls(
            turn=_rounded(turn),
            scale=scale,
            shift=torch.from_numpy(matrix[:3, 3].astype(np.float64)),
            quats=_rounded(product).float(),
            harmonics=_rounded(_turned_basis(turn)).float(),
        )

    def points(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Transformed points, float32."""
        return (self.scale * (points.double() @ self.turn.T) + self.shift).float()

    def placed(self, part: Gaussians) -> Gaussians:
        """Transformed Gaussians, with harmonics up to degree 3."""
        k = part.colors.shape[1]
        return Gaussians(
            means=self.points(part.means),
            quats=part.quats @ self.quats.T,
            scales=part.scales * self.scale,
            opacities=part.opacities,
            colors=torch.einsum("jk,nkc->njc", self.harmonics[:k, :k], part.colors),
            sh_degree=part.sh_degree,
        )


def _rounded(matrix: NDArray[np.float64]) -> Float[Tensor, "m m"]:
    # Half turns are then made of 0 and 1 alone, and exact.
    return torch.from_numpy(np.round(matrix, 12))


def _turned_basis(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a rotation R does to SH coefficients: the colour seen along d is then seen along R d.

    It is linear, so that the harmonics' values in more directions than coefficients determine it.
    """
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    now, before = (
        basis(torch.from_numpy(d), _DEGREE).numpy() for d in (directions, directions @ turn)
    )
    turned: NDArray[np.float64] = np.linalg.lstsq(now, before, rcond=None)[0]
    return turned
