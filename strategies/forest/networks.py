"""The two small networks that read the nodes above a leaf: its shape, and its colour."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from splat.core.column import EPSILON, Rate
from splat.core.model import TrainedModule

SHAPE, LOOK = 7, 3
"""Numbers that they tell: three log sizes and four of a quaternion; three of a colour."""
QUIET = 0.1
"""Factor on the last layers at first, so that a run begins near what it is started from."""
RATE = 4e-3
"""Learning rate at the start; at the end of a run it is a fiftieth."""


class Networks(nn.Module):
    """Weights of two networks of two layers, biases the last rows.

    `shape_in` [mid + root + 1, hidden], `shape_out` [hidden + 1, 7]; `look_in`
    [mid + root + 3 + 1, hidden] also reads the direction that a node is seen in, `look_out`
    [hidden + 1, 3].
    """

    def __init__(self, features: int, hidden: int, generator: torch.Generator) -> None:
        """`features` are those of a mid and its root together."""
        super().__init__()

        def layer(reads: int, gives: int, factor: float = 1.0) -> nn.Parameter:
            bound = factor / math.sqrt(reads)
            weights = (2 * torch.rand(reads + 1, gives, generator=generator) - 1) * bound
            weights[-1] = 0
            return nn.Parameter(weights)

        self.shape_in, self.shape_out = layer(features, hidden), layer(hidden, SHAPE, QUIET)
        self.look_in, self.look_out = layer(features + 3, hidden), layer(hidden, LOOK, QUIET)

    def shape(self, features: Float[Tensor, "m f"]) -> Float[Tensor, "m 7"]:
        """Log sizes and a quaternion's difference from no turn, of each mid."""
        return _told(features, self.shape_in, self.shape_out)

    def look(
        self, features: Float[Tensor, "m f"], directions: Float[Tensor, "m 3"]
    ) -> Float[Tensor, "m 3"]:
        """What is added to the colour of each mid (before the logistic function) as it is seen in
        a direction, a vector of length 1 from the camera."""
        return _told(torch.cat([features, directions], 1), self.look_in, self.look_out)

    def trained(self, steps: int) -> TrainedModule:
        """With an optimizer for a run of so many steps."""
        rate = Rate(RATE, RATE / 50, steps)
        optimizer = torch.optim.Adam(self.parameters(), lr=RATE, eps=EPSILON, foreach=True)
        return TrainedModule(self, optimizer, [rate])


def _told(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    hidden = torch.addmm(first[-1], values, first[:-1]).relu()
    return torch.addmm(second[-1], hidden, second[:-1])
