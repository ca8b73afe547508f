"""The smallest file of a loss where what is left of a set is trained on: fewer rows, as long as
training gains back what they drew."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from splat import formats
from splat.export.bits import dealt_bits
from splat.export.choice import SMALL_PALETTE, tried_text
from splat.export.search import LEAST_KEPT, PALETTED, Search, Tried, Variant
from splat.export.view_weights import ViewWeights
from splat.formats.settings import Settings
from splat.types import Gaussians

ROUNDING = 0.04
"""dB that the rounding of a .sog may lose by itself: rows that are few and fine take less room than
many coarse ones."""
BIT = 0.004
"""Share of a picture's error that a bit of a row is worth (`ShapeBits`): where about as many dB
are lost for a byte as by leaving out rows."""
_FIRST = 0.5
"""Share of the rows that is tried first."""
_TRAININGS = 5
_STEEP, _SURE = 0.5, 4.0
"""dB that are lost where a 2.7th of the rows stays, while nothing is known, and by how many times
it may be more or less."""
_FARTHEST = 2.0
"""Ratio of rows between trials at most."""
_MARGIN = 0.06
"""Share of the loss by which one may miss it, for want of better."""
_NEAR = 1.04
"""Ratio of rows of which one is too few and the other enough, and that are near enough."""

Refined = Callable[[Gaussians, ViewWeights, Variant], Gaussians]
"""Trains rows as a variant will have them; with what they weigh in views."""


@dataclass(frozen=True)
class Small:
    """The rows of a file, trained."""

    tried: Tried
    gaussians: Gaussians
    sight: ViewWeights


def smallest(
    search: Search, suffixes: Sequence[str], settings: Settings, most: float, refined: Refined
) -> Small:
    """The smallest file in one of the formats that loses at most `most` dB in the search's views
    once its rows are trained.

    Raises ValueError where even all rows lose more, saying what came nearest.
    """
    found = []
    for suffix in suffixes:
        degree = min(search.gaussians.sh_degree or 0, formats.most_degree(suffix))
        variant = Variant(suffix, _fine(search, suffix, settings), degree)
        small = _fewest(search, variant, most, refined)
        while small is not None and small.tried.variant.degree:
            # Fewer bands by themselves: what they drew is regained or not.
            less = replace(variant, degree=small.tried.variant.degree - 1)
            trial = _trained(search, less, small.tried.gaussians, refined)
            if trial.tried.loss > most or trial.tried.bytes >= small.tried.bytes:
                break
            small = trial
        found += [] if small is None else [small]
    if not found:
        nearest = min(search.tried, key=lambda each: each.loss)
        raise ValueError(
            f"no file loses at most {most:g} dB: the nearest is {tried_text(nearest)}; allow more"
            " loss, a larger --refine, or another format"
        )
    return min(found, key=lambda each: each.tried.bytes)


def _fine(search: Search, suffix: str, settings: Settings) -> Settings:
    """Settings with bits that lose next to nothing, and a palette whose labels cost little."""
    settings = settings.for_views()
    if suffix not in PALETTED:
        return settings
    bits = settings.sog_bits or next(iter(dealt_bits(search, (ROUNDING,))), None)
    return replace(settings, sog_bits=bits, sog_palette=settings.sog_palette or SMALL_PALETTE)


def _fewest(search: Search, variant: Variant, most: float, refined: Refined) -> Small | None:
    """As few rows as lose at most `most` dB; None where all of them lose more."""
    whole, found = len(search.gaussians), None
    count = max(1, round(_FIRST * whole))
    losses: dict[int, float] = {}
    for _ in range(_TRAININGS):
        trial = _trained(search, variant, count, refined)
        losses[count] = trial.tried.loss
        if trial.tried.loss <= most:
            found = trial
        count = next_count(losses, most, whole)
        if count in losses:
            break
    return found


def next_count(losses: Mapping[int, float], most: float, whole: int) -> int:
    """The number of rows to try next, by the losses of those tried; one of them: it is found.

    A loss grows about with the logarithm of how many rows are gone.
    """
    enough = min((n for n, loss in losses.items() if loss <= most), default=None)
    few = max((n for n, loss in losses.items() if loss > most), default=None)
    aim = most - _MARGIN * abs(most)
    if enough is not None and losses[enough] >= aim:
        return enough
    if enough is None or few is None:
        near = enough or few or whole
        other = min(losses, key=lambda n: (n == near, abs(n - near)))
        steep = _STEEP
        if other != near:
            steep = (losses[other] - losses[near]) / math.log(near / other)
            steep = min(_STEEP * _SURE, max(_STEEP / _SURE, steep))
        ratio = math.exp((losses[near] - aim) / steep)
        least = max(1, round(LEAST_KEPT * whole))
        return min(whole, max(least, round(near * min(_FARTHEST, max(1 / _FARTHEST, ratio)))))
    if enough <= _NEAR * few:
        return enough
    share = (losses[few] - aim) / (losses[few] - losses[enough])
    return round(few * math.pow(enough / few, min(0.9, max(0.1, share))))


def _trained(search: Search, variant: Variant, count: int, refined: Refined) -> Small:
    sight = search.sight_of(count)
    rows = refined(search.final(variant, count), sight, variant)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"trial{variant.suffix}"
        weight = search.written(rows, sight, variant, path)
        return Small(search.noted(variant, count, weight, path), rows, sight)
