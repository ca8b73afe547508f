"""Which values of planes any Gaussian reads: only those are coded, the others cannot be seen."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def touched(
    inside: Float[Tensor, "n 3"], side: int, axis: int
) -> tuple[Bool[Tensor, "R R"], Bool[Tensor, "R"]]:
    """Values of the plane of space and of the line of time that belong to an axis
    (`splat.kernels.hexplane`) and are read, at sides of `side` values, for points whose box
    spans -1 to 1."""
    place = (inside.detach().nan_to_num(-1.0).clamp(-1, 1) + 1) * (0.5 * (side - 1))
    cells = place.floor().clamp(0, side - 2).long()
    b, c = (axis + 1) % 3, (axis + 2) % 3
    plane = torch.zeros(side * side, dtype=torch.bool, device=inside.device)
    line = torch.zeros(side, dtype=torch.bool, device=inside.device)
    for down in (0, 1):
        line.index_fill_(0, cells[:, axis] + down, True)
        for across in (0, 1):
            plane.index_fill_(0, (cells[:, b] + down) * side + cells[:, c] + across, True)
    return plane.view(side, side), line
