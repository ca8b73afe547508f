"""What files of a large set would be, told from a sample of its rows.

Every so many rows are written and read back as a file would have them, and drawn among all others,
which stay as they are: errors of rounding go in all directions and add up as squares, so with one
row in `step` of them the squared error of a picture is a `step`th of what it will be. What a file
leaves out, rows and bands, is left out of all rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.evaluation.evaluate import psnr
from splat.export.receipt import CLOSEST
from splat.export.search import FULL, HALVINGS, LEAST_KEPT, Search, Tried, Variant
from splat.math import spread
from splat.types import Gaussians, joined

SAMPLED = 1 << 15
"""Rows of a sample."""
_GLANCES = 4
"""Views in which it is drawn."""


@dataclass(frozen=True)
class _Sample:
    """Some of a file's rows, written and read back."""

    rows: Int[Tensor, "m"]
    kept: Int[Tensor, "n"]
    """All rows of the file, of which every `step`th is in the sample."""
    step: int
    again: Gaussians
    """The sample as it is read back, in the frame of the set."""
    fixed: float
    each: float
    """Bytes of a file whatever its rows, and bytes of a row more."""


class Prediction:
    """Tells what trials of a search would find, without writing whole files."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._views = list(spread(len(search.batches), _GLANCES))
        self._drawn: dict[tuple[int, int], list[Float[Tensor, "h w 3"]]] = {}

    def within(self, variant: Variant, most: int) -> Tried | None:
        """What `Search.within` would find."""
        whole = count = len(self._search.gaussians)
        sample = self._sample(variant, whole)
        # Rows that matter weigh more than others: once more with those that stay.
        for _ in range(2):
            fit = min(whole, int((FULL * most - sample.fixed) / sample.each))
            if fit < max(1, LEAST_KEPT * whole):
                return None
            if fit == count:
                break
            count, sample = fit, self._sample(variant, fit)
        return self._tried(variant, sample, self._mse_of(variant, sample))

    def losing(self, variant: Variant, most: float) -> Tried | None:
        """What `Search.losing` would find."""
        whole = len(self._search.gaussians)
        sample = self._sample(variant, whole)
        rounding = self._mse_of(variant, sample)
        best = self._tried(variant, sample, rounding)
        if best.loss > most:
            return None
        low, high = LEAST_KEPT, 1.0
        for _ in range(HALVINGS):
            share = (low + high) / 2
            kept = self._search.sight.most_significant(max(1, round(share * whole)))
            trial = self._tried(variant, replace(sample, kept=kept), rounding)
            low, high = (low, share) if trial.loss <= most else (share, high)
            best = trial if trial.loss <= most else best
        return best

    def _sample(self, variant: Variant, count: int) -> _Sample:
        kept = self._search.sight.most_significant(count)
        step = -(-count // SAMPLED)
        rows = kept[::step]
        weights = self._search.sight.take(rows)
        part = self._search.on_grid(self._search.cut(variant.degree).take(rows), weights, variant)
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"sample{variant.suffix}"
            every = torch.arange(0, len(part), 2, device=part.means.device)
            less = self._search.written(part.take(every), weights.take(every), variant, path)
            weight = self._search.written(part, weights, variant, path)
            again = self._search.read_back(variant, path)
        each = max(1e-3, (weight - less) / max(1, len(part) - len(every)))
        return _Sample(rows, kept, step, again, max(0.0, weight - each * len(part)), each)

    def _tried(self, variant: Variant, sample: _Sample, rounding: Sequence[float]) -> Tried:
        """The file of a sample's kind with all of `sample.kept`, whose rounding adds so much to the
        mean squared error of each view."""
        count, lost = len(sample.kept), []
        pictures = self._pictures(variant.degree, sample.kept)
        views = self._views
        for i, picture, more in zip(views, pictures, rounding, strict=True):
            truth, mask = self._search.truth(i)
            before = min(CLOSEST, psnr(self._search.whole[i], truth, mask))
            mse = 10 ** (-psnr(picture, truth, mask) / 10) + more
            lost.append(before - min(CLOSEST, -10 * math.log10(max(mse, 1e-12))))
        loss = sum(lost) / len(lost)
        weight = round(sample.fixed + sample.each * count)
        return Tried(
            variant,
            count,
            weight,
            self._search.before - loss,
            loss if self._search.photos else 0.0,
            predicted=True,
        )

    def _mse_of(self, variant: Variant, sample: _Sample) -> list[float]:
        """What the rounding of all rows that a sample is of adds to each view."""
        others = torch.ones(len(sample.kept), dtype=torch.bool, device=sample.kept.device)
        others[:: sample.step] = False
        whole = self._search.cut(variant.degree)
        mixed = joined([whole.take(sample.kept[others]), sample.again])
        before = self._pictures(variant.degree, sample.kept)
        found = []
        for i, picture in zip(self._views, before, strict=True):
            changed = self._search.drawn(mixed, self._search.batches[i])
            found.append(sample.step * 10 ** (-psnr(changed, picture, None) / 10))
        return found

    def _pictures(self, degree: int, kept: Int[Tensor, "n"]) -> list[Float[Tensor, "h w 3"]]:
        """Pictures of some of the rows with so many bands, in the views of predictions."""
        key = degree, len(kept)
        if key not in self._drawn:
            whole = self._search.cut(degree)
            part = whole if len(kept) == len(whole) else whole.take(kept)
            self._drawn[key] = [
                self._search.drawn(part, self._search.batches[i]) for i in self._views
            ]
        return self._drawn[key]
