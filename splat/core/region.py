"""A part of the input's frame, such as a box, to which what is exported is cropped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from splat.types import Frame, Gaussians

Corner = tuple[float, float, float]

EVERYWHERE: tuple[Corner, Corner] = ((-1e9, -1e9, -1e9), (1e9, 1e9, 1e9))
"""Low and high corner of a box that leaves nothing out."""


class Region(ABC):
    """A part of space, in the coordinates of the input."""

    @abstractmethod
    def holds(self, positions: Float[Tensor, "n 3"], frame: Frame) -> Bool[Tensor, "n"]:
        """Which positions, in the frame of training `frame`, lie inside."""

    @abstractmethod
    def text(self) -> str:
        """Where it is, for people, to follow `from` or `within`."""

    def described(self) -> dict[str, Any]:
        """Its numbers, for records."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # all are dataclasses

    def kept(self, gaussians: Gaussians, frame: Frame) -> Gaussians:
        """The Gaussians whose centre lies inside; raises ValueError where there are none."""
        inside = self.holds(gaussians.means, frame)
        if not bool(inside.any()):
            raise ValueError(self.bare(len(inside)))
        return gaussians if bool(inside.all()) else gaussians.take(inside)

    def bare(self, count: int) -> str:
        """The message where none of so many Gaussians lies inside."""
        return (
            f"the crop box from {self.text()} holds none of the {count:,} Gaussians that"
            " were trained; expected some inside: train again with a larger box"
        )


@dataclass(frozen=True)
class Box(Region):
    """A box along the axes of the input."""

    low: Corner
    """Lowest corner, units of the input."""
    high: Corner
    """Highest corner, units of the input."""

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError(
                f"the crop box from {corner_text(self.low)} to {corner_text(self.high)} holds"
                " nothing; expected the lowest x y z and then the highest, each of the first below"
                " its second"
            )

    def holds(self, positions: Float[Tensor, "n 3"], frame: Frame) -> Bool[Tensor, "n"]:
        """Which positions, in the frame of training `frame`, lie inside; its faces count."""
        means = positions.detach().double()
        places = means / frame.scale + means.new_tensor(frame.centre)
        low, high = means.new_tensor(self.low), means.new_tensor(self.high)
        inside: Bool[Tensor, "n"] = ((places >= low) & (places <= high)).all(1)
        return inside

    def text(self) -> str:
        """Its corners, for people."""
        return f"{corner_text(self.low)} to {corner_text(self.high)}"


@dataclass(frozen=True)
class Both(Region):
    """The intersection of two regions."""

    one: Region
    other: Region

    def holds(self, positions: Float[Tensor, "n 3"], frame: Frame) -> Bool[Tensor, "n"]:
        return self.one.holds(positions, frame) & self.other.holds(positions, frame)

    def text(self) -> str:
        return f"{self.one.text()} and {self.other.text()}"


def corner_text(corner: Corner) -> str:
    """A corner, for people."""
    return " ".join(f"{value:g}" for value in corner)


def box_of(six: tuple[float, ...]) -> Box:
    """The box of six numbers: the lowest x y z, then the highest."""
    if len(six) != 6:
        raise ValueError(f"crop has {len(six)} numbers; expected 6, X Y Z of two corners")
    a, b, c, d, e, f = map(float, six)
    return Box((a, b, c), (d, e, f))


def intersection(one: Region | None, other: Region) -> Region:
    """The intersection of two regions; of two boxes a box. None is everywhere."""
    if one is None:
        return other
    if not (isinstance(one, Box) and isinstance(other, Box)):
        return Both(one, other)
    low, high = (
        tuple(pick(a, b) for a, b in zip(ours, theirs, strict=True))
        for pick, ours, theirs in ((max, one.low, other.low), (min, one.high, other.high))
    )
    return box_of((*low, *high))
