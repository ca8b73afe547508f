"""What files of a large set would be, told from a sample of its rows.

Runs of rows that follow each other in files are written and read back, and drawn among all others,
which stay as they are: errors of rounding of rows far apart go in all directions and add up as
squares, so with one run in `step` of them the squared error of a picture is a `step`th of what it
will be. Runs, as rows side by side are coded by what they have in common, and may err alike. What a
file leaves out, rows and bands, is left out of all rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.evaluation.evaluate import psnr
from splat.export.receipt import CLOSEST
from splat.export.search import HALVINGS, LEAST_KEPT, PALETTED, Search, Tried, Variant
from splat.export.view_weights import ViewWeights
from splat.formats.order import spatial_order
from splat.formats.sog import entries_of
from splat.math import spread
from splat.types import Gaussians, joined

SAMPLED = 1 << 15
"""Rows of a sample."""
_FEWER = 8
"""Of the runs of a sample one in so many says what a file has besides its rows."""
_WEIGHINGS, _ALIKE = 3, 0.03
"""Samples of a way at most, and by how much the rows that fit may be off for another."""
_AIMED = 0.98
"""Share of a size that is aimed at: the middle of what is enough, as sizes are off both ways."""
_GLANCES = 4
"""Views in which it is drawn."""


@dataclass(frozen=True)
class _Sample:
    """Some of a file's rows, written and read back."""

    of: int
    """Rows of the file, the most significant ones."""
    rows: Int[Tensor, "m"]
    """Those of them that are in the sample."""
    again: Gaussians
    """The sample as it is read back, in the frame of the set."""
    fixed: float
    each: float
    """Bytes of a file whatever its rows, and bytes of a row more."""


class Prediction:
    """Tells what trials of a search would find, without writing whole files."""

    def __init__(self, search: Search, ways: Iterable[Variant]) -> None:
        search.cut_to(way.degree for way in ways)
        self._search = search
        self._views = list(spread(len(search.batches), _GLANCES))
        self._drawn: dict[tuple[int, int], list[Float[Tensor, "h w 3"]]] = {}
        means = search.gaussians.means
        self._order = spatial_order(means).to(means.device)
        self._start = len(means)
        """Rows that fitted the last time."""

    def within(self, variant: Variant, most: int) -> Tried | None:
        """What `Search.within` would find."""
        whole = len(self._search.gaussians)
        # What a row weighs depends on which of them stay.
        count = self._start
        for _ in range(_WEIGHINGS):
            sample = self._sample(variant, count)
            fit = min(whole, int((_AIMED * most - sample.fixed) / sample.each))
            if fit < max(1, LEAST_KEPT * whole):
                return None
            off, count = abs(fit - count), fit
            if off < _ALIKE * count:
                break
        self._start = count
        found = self._tried(variant, sample, sample.of, self._mse_of(variant, sample))
        # So few rows more or fewer change no picture that would count.
        return replace(found, gaussians=count, bytes=_bytes(sample, count))

    def losing(self, variant: Variant, most: float) -> Tried | None:
        """What `Search.losing` would find."""
        whole = len(self._search.gaussians)
        sample = self._sample(variant, whole)
        rounding = self._mse_of(variant, sample)
        best = self._tried(variant, sample, whole, rounding)
        if best.loss > most:
            return None
        low, high = LEAST_KEPT, 1.0
        for _ in range(HALVINGS):
            share = (low + high) / 2
            trial = self._tried(variant, sample, max(1, round(share * whole)), rounding)
            low, high = (low, share) if trial.loss <= most else (share, high)
            best = trial if trial.loss <= most else best
        return best

    def _sample(self, variant: Variant, count: int) -> _Sample:
        runs = _runs(count)
        rows = self._kept(count)[runs.flatten()]
        part, weights = self._rounded(variant, rows)
        some = torch.arange(len(part)).view_as(runs)[::_FEWER].flatten().to(rows)
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"sample{variant.suffix}"
            less = self._written(variant, part.take(some), weights.take(some), count, path)
            weight = self._written(variant, part, weights, count, path)
            again = self._search.read_back(variant, path)
        each = max(1e-3, (weight - less) / max(1, len(part) - len(some)))
        fixed = max(0.0, weight - each * len(part))
        return _Sample(count, rows, again, fixed, each + self._label(variant, part, count))

    def _kept(self, count: int) -> Int[Tensor, "n"]:
        """The most significant rows, in the order of files."""
        stays = torch.zeros(len(self._order), dtype=torch.bool, device=self._order.device)
        stays[self._search.sight.most_significant(count)] = True
        return self._order[stays[self._order]]

    def _rounded(self, variant: Variant, rows: Int[Tensor, "m"]) -> tuple[Gaussians, ViewWeights]:
        """Some rows as a variant rounds them, and what they weigh."""
        sight = self._search.sight.take(rows)
        part = self._search.cut(variant.degree).take(rows)
        return self._search.on_grid(part, sight, variant), sight

    def _written(
        self, variant: Variant, part: Gaussians, weights: ViewWeights, count: int, path: Path
    ) -> int:
        """Bytes of a file of some rows, which have their share of the palette of all `count`."""
        if entries := _entries(variant, count):
            share = max(1, round(entries * len(part) / count))
            settings = replace(variant.settings, sog_palette=share)
            variant = replace(variant, settings=settings)
        return self._search.written(part, weights, variant, path)

    def _label(self, variant: Variant, part: Gaussians, count: int) -> float:
        """Bytes that a row takes more as the palette of all is larger than that of a sample."""
        return math.log2(count / len(part)) / 8 if _entries(variant, count) else 0.0

    def _tried(
        self, variant: Variant, sample: _Sample, count: int, rounding: Sequence[float]
    ) -> Tried:
        """The file of a sample's kind with so many rows, whose rounding adds so much to the mean
        squared error of each view."""
        lost = []
        pictures = self._pictures(variant.degree, count)
        for i, picture, more in zip(self._views, pictures, rounding, strict=True):
            truth, mask = self._search.truth(i)
            before = min(CLOSEST, psnr(self._search.whole[i], truth, mask))
            mse = 10 ** (-psnr(picture, truth, mask) / 10) + more
            lost.append(before - min(CLOSEST, -10 * math.log10(max(mse, 1e-12))))
        loss = sum(lost) / len(lost)
        return Tried(
            variant,
            count,
            _bytes(sample, count),
            self._search.before - loss,
            loss if self._search.photos else 0.0,
            predicted=True,
        )

    def _mse_of(self, variant: Variant, sample: _Sample) -> list[float]:
        """What the rounding of all rows that a sample is of adds to each view."""
        kept = self._kept(sample.of)
        others = kept[torch.isin(kept, sample.rows, assume_unique=True, invert=True)]
        mixed = joined([self._search.cut(variant.degree).take(others), sample.again])
        step = sample.of / len(sample.rows)
        found = []
        for i, picture in zip(self._views, self._pictures(variant.degree, sample.of), strict=True):
            changed = self._search.drawn(mixed, self._search.batches[i])
            found.append(step * 10 ** (-psnr(changed, picture, None) / 10))
        return found

    def _pictures(self, degree: int, count: int) -> list[Float[Tensor, "h w 3"]]:
        """Pictures of the most significant rows with so many bands, in the views of predictions."""
        if (degree, count) not in self._drawn:
            whole = self._search.cut(degree)
            part = whole if count == len(whole) else whole.take(self._kept(count))
            self._drawn[degree, count] = [
                self._search.drawn(part, self._search.batches[i]) for i in self._views
            ]
        return self._drawn[degree, count]


def _bytes(sample: _Sample, count: int) -> int:
    """What a file of a sample's kind with so many rows takes."""
    return round(sample.fixed + sample.each * count)


def _runs(count: int) -> Int[Tensor, "r m"]:
    """Places of a sample among `count` rows: as many runs as each is long, at even distances."""
    length = math.isqrt(min(count, SAMPLED))
    starts = torch.arange(length) * (count - length) // max(1, length - 1)
    return starts[:, None] + torch.arange(length)


def _entries(variant: Variant, count: int) -> int:
    """Entries of the palette of a file of `count` rows; 0 where it has none."""
    if variant.suffix not in PALETTED or not variant.degree:
        return 0
    return entries_of(count, variant.settings)
