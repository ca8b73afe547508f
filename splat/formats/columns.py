"""What files of Gaussians hold, as NumPy's arrays: for those who look at it and draw nothing.

Here and below nothing loads torch, which takes longer than reading a file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.formats.limits import check_kept

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Moving:
    """When each Gaussian is there, and where it goes, as `splat.types.Motion` has it."""

    time: Floats
    """[n]."""
    duration: Floats
    """[n]."""
    velocity: Floats
    """[n, 3]."""


@dataclass(frozen=True)
class Columns:
    """A set as `splat.types.Gaussians` has it, every value activated, and how it is drawn."""

    means: Floats
    """[n, 3]."""
    scales: Floats
    """[n, 3]."""
    opacities: Floats
    """[n]."""
    sh: Floats
    """[n, k, 3]."""
    quats: Floats | None = None
    """[n, 4], of any length; None: those of the format are always finite."""
    moving: Moving | None = None
    antialiased: bool = False
    near: float | None = None
    finite_rest: bool = False
    """Whether harmonics beyond the constant one are always finite, and need no look."""

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """Highest band."""
        return math.isqrt(self.sh.shape[1]) - 1

    def whole(self, path: Path) -> Columns:
        """The rows without NaN and infinite values; a warning says how many are left out."""
        keep = self._finite()
        check_kept(int(keep.sum()), len(keep), path)
        return self if keep.all() else self._take(keep)

    @np.errstate(all="ignore")
    def _finite(self) -> NDArray[np.bool_]:
        # As `splat.core.frame.finite`: a sum is finite if its terms are.
        sh = self.sh[:, :1] if self.finite_rest else self.sh
        rows = [self.means, self.scales, sh.reshape(len(self), 3 * sh.shape[1])]
        rows += [] if self.quats is None else [self.quats]
        total = np.sum([values.sum(1) for values in rows], 0) + self.opacities
        if self.moving is not None:
            total += self.moving.time + self.moving.duration + self.moving.velocity.sum(1)
        finite: NDArray[np.bool_] = np.isfinite(total)
        return finite

    def _take(self, keep: NDArray[np.bool_]) -> Columns:
        moving = self.moving
        return replace(
            self,
            means=self.means[keep],
            scales=self.scales[keep],
            opacities=self.opacities[keep],
            sh=self.sh[keep],
            quats=None if self.quats is None else self.quats[keep],
            moving=None
            if moving is None
            else Moving(moving.time[keep], moving.duration[keep], moving.velocity[keep]),
        )


@np.errstate(over="ignore")
def logistic(logits: NDArray[Any]) -> Floats:
    """Opacities of their logits."""
    values: Floats = 1 / (1 + np.exp(-logits))
    return values
