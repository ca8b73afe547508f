"""What people may choose of cleaning and erasing, where help finds it without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from splat.system.numbers import hint

Box = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Limits:
    """What counts as debris; 0: is not looked for."""

    floaters: int = 10
    """Islands of fewer Gaussians than this, with a wide gap around them."""
    giants: float = 1.0
    """Gaussians whose longest axis (a standard deviation) is more than so many times the radius of
    the scene, that of nine tenths of it; or, farther out, than their distance from its middle."""
    needles: float = 100.0
    """Gaussians of more than ten times the usual length whose longest axis is more than so many
    times the next one; discs are none."""
    faint: Annotated[float, hint("1/255")] = 1 / 255
    """Gaussians whose opacity is less than this; below 1/255 none is ever drawn."""
    box: Annotated[Box | None, tyro.conf.arg(metavar="X Y Z X Y Z"), hint("none")] = None
    """Gaussians that lie outside this box: x y z of its low corner, then of its high corner."""

    def __post_init__(self) -> None:
        for name in ("floaters", "giants", "needles", "faint"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name):g}; expected 0 or more")
        if self.box is not None and not all(
            low < high for low, high in zip(self.box[:3], self.box[3:], strict=True)
        ):
            raise ValueError(f"box is {self.box}; expected x y z of its low corner, then its high")


@dataclass(frozen=True)
class Choice:
    """Which votes erase a row."""

    threshold: float = 0.5
    """Rows of which more than this share is masked go."""
    grow: float = 1.5
    """Rows within so many times the usual spacing of those that go follow them, if they lie within
    the masks in all voting views and less clearly masked (`low`) or hardly seen; 0: none does."""
    low: float = 0.02
    """Share from which a row that was seen may follow."""
    outside: bool = False
    """The opposite: all goes but what the masks show."""

    def __post_init__(self) -> None:
        for name in ("threshold", "low"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name):g}; expected 0 or more, below 1")
        if not self.grow >= 0:
            raise ValueError(f"grow is {self.grow:g}; expected 0 or more")


@dataclass(frozen=True)
class Fill:
    """Which points become new Gaussians."""

    agree: int = 3
    """Views that must put a point at the same depth, its own among them."""
    tolerance: float = 0.02
    """Share of the depth by which they may differ."""
    stride: int = 2
    """Pixels between the points of a view, and so about between new rows."""

    def __post_init__(self) -> None:
        for name in ("agree", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not 0 < self.tolerance < 0.5:
            raise ValueError(f"tolerance is {self.tolerance:g}; expected a share above 0, below .5")
