"""Which blocks of space a depth picture says something of: bounds of its depths over squares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from splat.mesh.pictures import Picture


@dataclass(frozen=True)
class VisibleBlocks:
    """Blocks that a picture says something of."""

    free: Int[Tensor, "a"]
    """Numbers of the blocks in free space: before all that is seen, by more than the truncation."""
    weight: Float[Tensor, "a"]
    """Least weight of the pixels that see each block of free space."""
    near: Int[Tensor, "b"]
    """Numbers of the blocks that may hold a surface."""


class Bounds:
    """Least and greatest depth, and least weight, over squares of 1, 2, 4, ... pixels a side."""

    def __init__(self, picture: Picture) -> None:
        counts = picture.weight > 0
        levels = [
            torch.stack(
                [
                    -picture.depth.where(counts, torch.inf),
                    picture.depth.where(counts, -torch.inf),
                    -picture.weight,
                ]
            )
        ]
        while max(levels[-1].shape[1:]) > 1:
            above = levels[-1]
            odd = (0, above.shape[2] % 2, 0, above.shape[1] % 2)
            padded = functional.pad(above, odd, value=-torch.inf)
            levels.append(functional.max_pool2d(padded[None], 2)[0])
        device = picture.depth.device
        self._camera = picture.camera
        self._flat = torch.cat([level.flatten(1) for level in levels], 1)
        sizes = [[level.shape[1], level.shape[2]] for level in levels]
        self._sizes = torch.tensor(sizes, device=device)
        before = [0, *torch.tensor(sizes).prod(1).cumsum(0).tolist()[:-1]]
        self._start = torch.tensor(before, device=device)

    def visible_blocks(
        self, local: Float[Tensor, "n 3"], radius: float, thickness: float, truncation: float
    ) -> VisibleBlocks:
        """Which blocks with these centres, in the camera's frame, a picture says something of.

        They lie within `radius` of their centres, and within `thickness` along z. Nothing is known
        of those that are left out: they are out of the picture or behind what is seen.
        """
        near, far, weight, inside = self._over(local, radius)
        z = local[:, 2]
        visible = (z + thickness > 0) & (far >= z - thickness - truncation)
        free = visible & inside & (weight > 0) & (near >= z + thickness + truncation)
        blocks = free.nonzero()[:, 0]
        return VisibleBlocks(blocks, weight[blocks], (visible & ~free).nonzero()[:, 0])

    def _over(
        self, local: Float[Tensor, "n 3"], radius: float
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"], Float[Tensor, "n"], Bool[Tensor, "n"]]:
        """Least and greatest depth and least weight over what may see each ball, and whether all
        of that is within the picture. Greatest depth is -inf where nothing is seen."""
        K, width, height = self._camera.K, self._camera.width, self._camera.height
        x, y, z = local.unbind(1)
        # Of a ball before the camera, x'/z' is at most this far from x/z of its centre.
        behind = (z - radius).clamp_min(1e-3 * radius)
        axis = z.clamp_min(1e-3 * radius)
        middle = torch.stack([K[0, 0] * x / axis + K[0, 2], K[1, 1] * y / axis + K[1, 2]], 1)
        slope = torch.stack([K[0, 0] * (1 + x.abs() / axis), K[1, 1] * (1 + y.abs() / axis)], 1)
        # One pixel more, for depths between the pixels.
        reach = radius * slope / behind[:, None] + 1
        close = z <= 1.01 * radius
        edge = local.new_tensor([width, height])
        first = (middle - reach).where(~close[:, None], torch.zeros_like(middle))
        last = (middle + reach).where(~close[:, None], edge.expand_as(middle))
        inside = ((first >= 0) & (last <= edge)).all(1) & ~close
        outside = ((last < 0) | (first > edge)).any(1)
        first, last = first.clamp_min(0).minimum(edge), last.clamp_min(0).minimum(edge)
        side = (last - first).amax(1).clamp_min(1)
        # Squares of at least half that side: three of them reach over it.
        level = (side / 2).log2().ceil().long().clamp(0, len(self._sizes) - 1)
        size = self._sizes[level].flip(1)
        cell = (first / (2.0**level)[:, None]).long()
        corners = []
        for row in range(3):
            for column in range(3):
                x, y = (cell + cell.new_tensor([column, row])).minimum(size - 1).unbind(1)
                corners.append(self._flat[:, self._start[level] + y * size[:, 0] + x])
        near, far, weight = torch.stack(corners).amax(0)
        return -near, far.where(~outside, -torch.inf), -weight, inside
