"""Small geometry shared by models, strategies and exporters."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi))."""


def logit_of(opacity: float) -> float:
    """Logit of an opacity, of which the sigmoid is the opacity; infinite at 0 and 1."""
    if opacity <= 0 or opacity >= 1:
        return -math.inf if opacity <= 0 else math.inf
    return math.log(opacity / (1 - opacity))


def rotation_matrices(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotations of (w, x, y, z) quaternions, which need not be unit."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    entries = torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    )  # fmt: skip
    return entries.view(-1, 3, 3)


def quaternions(rotations: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 4"]:
    """Unit (w, x, y, z) quaternions of rotations; float64, on the CPU the same to the bit."""
    from scipy.spatial.transform import Rotation

    quats = Rotation.from_matrix(rotations.double().cpu().numpy()).as_quat()
    return torch.from_numpy(quats).to(rotations.device).roll(1, 1)


def covariances(
    quats: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3 3"]:
    """Covariances R diag(scales^2) R^T."""
    half = rotation_matrices(quats) * scales[:, None, :]
    return half @ half.transpose(1, 2)


def sh_from_rgb(rgb: Tensor) -> Tensor:
    """Constant coefficient that draws as this colour."""
    return (rgb - 0.5) / SH_C0


def rgb_from_sh(constant: Tensor) -> Tensor:
    """Colour drawn by a constant coefficient alone, not clamped."""
    return 0.5 + SH_C0 * constant


def spread(count: int, most: int) -> list[int]:
    """At most so many of 0 ... count-1, evenly spread."""
    return [i * count // min(count, most) for i in range(min(count, most))]
