"""`Lattice`: places on a regular grid, a cube of them, and how they are numbered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.system.foreign import Record
from splat.types import Frame

MARGIN = 1.1
"""Side of the cube over that of the box that holds nearly all points."""
OUTLIERS = 0.01
"""Share of the points that may lie outside of that box, at each end of each axis."""
LEAST, MOST = 2, 128
"""Places along an edge."""


@dataclass(frozen=True)
class Lattice:
    """`count` places along each edge of a cube; place (x, y, z) has the number
    (x * count + y) * count + z."""

    low: tuple[float, float, float]
    """The lowest corner, which is a place."""
    cell: float
    """Distance from one place to the next."""
    count: int

    def __len__(self) -> int:
        return self.count**3

    @property
    def side(self) -> float:
        """Length of an edge, from its first place to its last."""
        return self.cell * (self.count - 1)

    def places(self, numbers: Int[Tensor, "n"]) -> Float[Tensor, "n 3"]:
        """Where places lie, float64."""
        count = self.count
        index = torch.stack(
            [numbers // count**2, numbers // count % count, numbers % count], dim=1
        ).double()
        return index * self.cell + index.new_tensor(self.low)

    def all_places(self) -> Float[Tensor, "m 3"]:
        """Where all places lie, by number, float64."""
        return self.places(torch.arange(len(self)))

    def from_frame(self, frame: Frame) -> Lattice:
        """A lattice in the frame of training, as it lies in the frame of the input."""
        x, y, z = (
            low / frame.scale + centre for low, centre in zip(self.low, frame.centre, strict=True)
        )
        return Lattice((x, y, z), self.cell / frame.scale, self.count)

    def record(self) -> dict[str, Any]:
        """What a file keeps of it."""
        return {"low": list(self.low), "cell": self.cell, "count": self.count}

    @classmethod
    def of_record(cls, record: Record) -> Lattice:
        """Of what a file keeps; raises `Broken`."""
        count = record.whole("count", least=LEAST, most=MOST)
        return cls(record.triple("low"), record.number("cell", above=0), count)


def about(points: Float[Tensor, "n 3"], count: int) -> Lattice:
    """The lattice about points: a cube that holds nearly all of them, and a margin."""
    points = points.detach().double().cpu()
    points = points[points.isfinite().all(1)]
    if not len(points):
        raise ValueError("a grid is to be laid about no points; expected one at least")
    ends = points.sort(0).values
    outside = int(OUTLIERS * len(points))
    low, high = ends[outside], ends[len(ends) - 1 - outside]
    side = MARGIN * float((high - low).max())
    if side <= 0:
        side = 1.0  # one point, or all in one place
    x, y, z = ((low + high) / 2 - side / 2).tolist()
    return Lattice((x, y, z), side / (count - 1), count)
