"""What people may choose of cleaning and erasing, where help finds it without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from splat.system.numbers import hint
from splat.system.ranges import at_least, check_box, check_fields, within

Box = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Limits:
    """What counts as debris; 0: is not looked for."""

    floaters: Annotated[int, at_least(0)] = 10
    """Islands of fewer Gaussians than this, with a wide gap around them."""
    giants: Annotated[float, at_least(0)] = 1.0
    """Gaussians whose longest axis (a standard deviation) is more than so many times the radius of
    the scene, that of nine tenths of it; or, farther out, than their distance from its middle."""
    needles: Annotated[float, at_least(0)] = 100.0
    """Gaussians of more than ten times the usual length whose longest axis is more than so many
    times the next one; discs are none."""
    faint: Annotated[float, at_least(0, default="1/255")] = 1 / 255
    """Gaussians whose opacity is less than this; below 1/255 none is ever drawn."""
    box: Annotated[Box | None, tyro.conf.arg(metavar="X Y Z X Y Z"), hint("none")] = None
    """Gaussians that lie outside this box: x y z of its low corner, then of its high corner."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_box(self.box)


@dataclass(frozen=True)
class Choice:
    """Which votes erase a row."""

    threshold: Annotated[float, within(0, 1, high_open=True)] = 0.5
    """Rows of which more than this share is masked go."""
    grow: Annotated[float, at_least(0)] = 1.5
    """Rows within so many times the usual spacing of those that go follow them, if they lie within
    the masks in all voting views and less clearly masked (`low`) or hardly seen; 0: none does."""
    low: Annotated[float, within(0, 1, high_open=True)] = 0.02
    """Share from which a row that was seen may follow."""
    outside: bool = False
    """The opposite: all goes but what the masks show."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Fill:
    """Which points become new Gaussians."""

    agree: Annotated[int, at_least(1)] = 3
    """Views that must put a point at the same depth, its own among them."""
    tolerance: Annotated[float, within(0, 0.5, low_open=True, high_open=True)] = 0.02
    """Share of the depth by which they may differ."""
    stride: Annotated[int, at_least(1)] = 2
    """Pixels between the points of a view, and so about between new rows."""

    def __post_init__(self) -> None:
        check_fields(self)
