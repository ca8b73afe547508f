"""Quantities of rows for heatmaps: their own, their age, their contribution to pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from jaxtyping import Float, Int
from torch import Tensor

from splat.core.score import Scores, combined, view_scores
from splat.math import LASTING, spread
from splat.types import Gaussians, Motion
from splat.viewer.chronicle import Chronicle
from splat.viewer.source import Source

SURVEYED = 24
"""Most views of a sweep."""

OWN: dict[str, Callable[[Gaussians], Tensor]] = {
    "opacity": lambda gaussians: gaussians.opacities,
    "size": lambda gaussians: gaussians.scales.amax(1),
    "anisotropy": lambda gaussians: (
        gaussians.scales.amax(1) / gaussians.scales.median(1).values.clamp_min(1e-12)
    ),
}
"""Quantities of the Gaussians themselves."""
MOVING: dict[str, Callable[[Motion], Tensor]] = {
    "duration": lambda motion: motion.duration.clamp_max(1),
    "speed": lambda motion: motion.velocity.norm(dim=1).where(motion.duration < LASTING, 0),
}
"""Quantities of Gaussians that move."""
WATCHED = ("age", "gradient")
"""Quantities that only a watcher of the training knows."""
SWEPT: dict[str, Callable[[Scores], Tensor]] = {
    "significance": lambda scores: scores.mass,
    "most visible pixel": lambda scores: scores.most,
    "sensitivity": lambda scores: scores.squared,
    "visibility": lambda scores: scores.views,
    "error": lambda scores: scores.weighted[:, 0] if scores.weighted.shape[1] else scores.mass * 0,
}
"""Quantities from a sweep over the training views."""
MEANING = {
    "opacity": "opacity",
    "size": "longest standard deviation, units of the input",
    "anisotropy": "longest over middle axis",
    "duration": "standard deviation of opacity over time, clips; 1 and more are one",
    "speed": "units of the input per clip",
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
        """Number of completed sweeps."""
        self._coming: Scores | None = None
        self._done: Scores | None = None
        self._stamp: object = None

    @property
    def scores(self) -> Scores | None:
        """Scores of the last completed sweep, or of the first one so far."""
        return self._done or self._coming

    @property
    def progress(self) -> tuple[int, int]:
        """Number of views surveyed in this sweep, and number of views in all."""
        return self._next, len(self._views)

    @property
    def fresh(self) -> bool:
        """Whether the last completed sweep is of the present Gaussians."""
        return self._done is not None and self._stamp == self._source.stamp and not self._next

    def look(self) -> None:
        """Survey the next view of the sweep."""
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
        """Apply a change of rows to the scores."""
        self._coming = _changed(self._coming, change)
        self._done = _changed(self._done, change)


def heatmap_names(source: Source, chronicle: Chronicle | None) -> tuple[str, ...]:
    """Names of the quantities that are available."""
    watched = WATCHED if chronicle is not None else ()
    swept = tuple(SWEPT) if source.views else ()
    if source.photos is None:
        swept = tuple(name for name in swept if name != "error")
    return (*OWN, *(MOVING if source.moves else ()), *source.traits, *watched, *swept)


def values(
    name: str,
    source: Source,
    gaussians: Gaussians,
    rows: Int[Tensor, "n"],
    chronicle: Chronicle | None,
    sweep: Sweep,
) -> Float[Tensor, "n"] | None:
    """The quantity of each Gaussian; None where it is not known yet."""
    if name in OWN:
        numbers = OWN[name](gaussians).detach()
        return numbers / source.frame.scale if name == "size" else numbers
    if name in MOVING:
        motion = source.motion
        if motion is None:
            return None
        found = MOVING[name](motion)[rows]
        return found / source.frame.scale if name == "speed" else found
    if name in (traits := source.traits):
        return traits[name].float()[rows]
    if name in SWEPT:
        return None if sweep.scores is None else SWEPT[name](sweep.scores).float()[rows]
    if chronicle is None:
        return None
    if name == "age":
        return (source.step - chronicle.rows["since"]).float()[rows]
    return None if chronicle.gradient is None else chronicle.gradient[rows]


def _changed(scores: Scores | None, change: Callable[[Tensor], Tensor]) -> Scores | None:
    if scores is None:
        return None
    return Scores(**{each.name: change(getattr(scores, each.name)) for each in fields(scores)})
