"""Similarity transforms of Gaussians: rotated, scaled, translated, harmonics included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.formats.columns import Columns, Floats
from splat.formats.rotations import Doubles, matrix_of, nearest_rotation, quaternion_of
from splat.math import SH_C0, beyond_constant

_DEGREE = 3
_BENT = 1e-4
"""How far a rotation's rows may be from unit and upright: float32, written with few digits."""


@dataclass(frozen=True)
class Placing:
    """A similarity transform, as it acts on positions, rotations, scales and harmonics."""

    turn: Doubles
    """[3, 3]; the rotation of positions, which comes first."""
    scale: float
    """Factor on positions and scales."""
    shift: Doubles
    """[3]; translation, which comes last."""
    quats: Floats
    """[4, 4]; the rotation of quaternions (w, x, y, z)."""
    harmonics: Floats
    """[16, 16]; the rotation of SH coefficients."""

    @classmethod
    def of(cls, matrix: NDArray[np.floating[Any]]) -> Placing | None:
        """The transform of a matrix [4, 4] (column vectors); None where it is no similarity."""
        with np.errstate(all="ignore"):
            scale = float(np.cbrt(np.linalg.det(matrix[:3, :3])))
            turn = matrix[:3, :3] / scale
            good = scale > 0 and np.abs(turn @ turn.T - np.eye(3)).max() < _BENT
        if not (good and np.isfinite(matrix).all()):
            return None
        w, x, y, z = quat = quaternion_of(nearest_rotation(turn.astype(np.float64)))
        turn = matrix_of(quat)
        product = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
        return cls(
            turn=_rounded(turn),
            scale=scale,
            shift=matrix[:3, 3].astype(np.float64),
            quats=_rounded(product).astype(np.float32),
            harmonics=_rounded(_turned_basis(turn)).astype(np.float32),
        )

    def points(self, points: Floats) -> Floats:
        """Transformed points [n, 3]."""
        placed = self.scale * (points.astype(np.float64) @ self.turn.T) + self.shift
        rounded: Floats = placed.astype(np.float32)
        return rounded

    def placed(self, part: Columns) -> Columns:
        """Transformed Gaussians, with harmonics up to degree 3."""
        assert part.quats is not None
        k = part.sh.shape[1]
        turned = np.tensordot(part.sh, self.harmonics[:k, :k], (1, 1))  # [n, 3, k]
        return replace(
            part,
            means=self.points(part.means),
            quats=part.quats @ self.quats.T,
            scales=part.scales * np.float32(self.scale),
            sh=turned.swapaxes(1, 2),
        )


def _rounded(matrix: Doubles) -> Doubles:
    # Half turns are then made of 0 and 1 alone, and exact.
    return np.round(matrix, 12)


def _turned_basis(turn: Doubles) -> Doubles:
    """What a rotation R does to SH coefficients: the colour seen along d is then seen along R d.

    It is linear, so that the harmonics' values in more directions than coefficients determine it.
    """
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    now, before = (_basis(*d.T) for d in (directions, directions @ turn))
    return np.linalg.lstsq(now, before, rcond=None)[0].astype(np.float64)


def _basis(x: Doubles, y: Doubles, z: Doubles) -> Doubles:
    return np.stack([np.full_like(x, SH_C0), *beyond_constant(x, y, z, _DEGREE)], 1)
