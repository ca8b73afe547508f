"""The smallest file of a loss where what is left of a set is trained on: fewer rows, as long as
training gains back what they drew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
_FIRST = 0.5
"""Share of the rows that is tried first."""
_TRAININGS = 5
_FEWER = 0.75
"""Rows of the next trial, as a share of those of one that was good enough."""
_NEAR = 1.08
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
    few, enough = 0, 0
    for _ in range(_TRAININGS):
        trial = _trained(search, variant, count, refined)
        if trial.tried.loss <= most:
            found, enough = trial, count
        else:
            few = count
        if few and enough:
            count = round((few * enough) ** 0.5)
        elif enough:
            count = max(1, round(max(LEAST_KEPT * whole, _FEWER * count)))
        else:
            count = min(whole, round(count / _FEWER**2))
        if few == whole or enough == count or (few and enough and enough <= _NEAR * few):
            break
    return found


def _trained(search: Search, variant: Variant, count: int, refined: Refined) -> Small:
    sight = search.sight_of(count)
    rows = refined(search.final(variant, count), sight, variant)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"trial{variant.suffix}"
        weight = search.written(rows, sight, variant, path)
        return Small(search.noted(variant, count, weight, path), rows, sight)
