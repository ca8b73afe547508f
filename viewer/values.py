"""A number for every row, for heatmaps: what it is, how old, how much it does for the pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from jaxtyping import Float, Int
from torch import Tensor

from splat.core.score import Scores, combined, view_scores
from splat.math import spread
from splat.types import Gaussians
from splat.viewer.chronicle import Chronicle
from splat.viewer.source import Source

SURVEYED = 24
"""Most views that a sweep looks at."""

OWN: dict[str, Callable[[Gaussians], Tensor]] = {
    "opacity": lambda gaussians: gaussians.opacities,
    "size": lambda gaussians: gaussians.scales.amax(1),
    "anisotropy": lambda gaussians: (
        gaussians.scales.amax(1) / gaussians.scales.median(1).values.clamp_min(1e-12)
    ),
}
"""What the Gaussians themselves say."""
WATCHED = ("age", "gradient")
"""What only who watched the run train knows."""
SWEPT: dict[str, Callable[[Scores], Tensor]] = {
    "significance": lambda found: found.mass,
    "most visible pixel": lambda found: found.most,
    "sensitivity": lambda found: found.squared,
    "visibility": lambda found: found.views,
    "error": lambda found: found.weighted[:, 0] if found.weighted.shape[1] else found.mass * 0,
}
"""What a sweep over the training views says."""
MEANING = {
    "opacity": "opacity",
    "size": "longest standard deviation, units of the input",
    "anisotropy": "longest over middle axis",
    "age": "steps since it was born or moved",
    "gradient": "mean gradient on screen of late, half pictures",
    "significance": "blending weight, summed over pixels of the views",
    "most visible pixel": "largest blending weight in any pixel",
    "sensitivity": "squared derivatives of the pictures (Speedy-Splat)",
    "visibility": "views in which it is drawn",
    "error": "error in its pixels, by its weight in them",
}


class Sweep:
    """Scores of rows over some training views, gathered a view at a time.

    What is shown is the last sweep that was completed, or, before there is one, the first as far
    as it has come.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._views = spread(source.views, SURVEYED)
        self._next = 0
        self.number = 0
        """Sweeps that were completed."""
        self._coming: Scores | None = None
        self._done: Scores | None = None
        self._stamp: object = None

    @property
    def found(self) -> Scores | None:
        """The scores so far."""
        return self._done or self._coming

    @property
    def progress(self) -> tuple[int, int]:
        """Views looked at in this sweep, and views in all."""
        return self._next, len(self._views)

    @property
    def fresh(self) -> bool:
        """Whether the last whole sweep is of what is there now."""
        return self._done is not None and self._stamp == self._source.stamp and not self._next

    def look(self) -> None:
        """Survey one more view."""
        if not self._views:
            return
        if self._next == 0:
            self._stamp = self._source.stamp
        view = view_scores(self._source.surveyed(self._views[self._next]))
        self._coming = view if self._coming is None else combined(self._coming, view)
        self._next += 1
        if self._next == len(self._views):
            self._done, self._coming, self._next = self._coming, None, 0
            self.number += 1

    def follow(self, change: Callable[[Tensor], Tensor]) -> None:
        """Let the scores follow their rows."""
        self._coming = _changed(self._coming, change)
        self._done = _changed(self._done, change)


def offered(source: Source, chronicle: Chronicle | None) -> tuple[str, ...]:
    """Names of the numbers that can be had."""
    watched = WATCHED if chronicle is not None else ()
    swept = tuple(SWEPT) if source.views else ()
    if source.photos is None:
        swept = tuple(name for name in swept if name != "error")
    return (*OWN, *watched, *swept)


def values(
    name: str,
    source: Source,
    gaussians: Gaussians,
    rows: Int[Tensor, "n"],
    chronicle: Chronicle | None,
    sweep: Sweep,
) -> Float[Tensor, "n"] | None:
    """The number of each Gaussian; None where it is not known yet."""
    if name in OWN:
        found = OWN[name](gaussians).detach()
        return found / source.frame.scale if name == "size" else found
    if name in SWEPT:
        return None if sweep.found is None else SWEPT[name](sweep.found).float()[rows]
    if chronicle is None:
        return None
    if name == "age":
        return (source.step - chronicle.rows["since"]).float()[rows]
    return None if chronicle.gradient is None else chronicle.gradient[rows]


def _changed(found: Scores | None, change: Callable[[Tensor], Tensor]) -> Scores | None:
    if found is None:
        return None
    return Scores(**{each.name: change(getattr(found, each.name)) for each in fields(found)})
