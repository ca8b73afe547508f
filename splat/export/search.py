"""Files written on trial: how large they are, and how they draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat import formats
from splat.core.frame import gaussians_from_frame, gaussians_to_frame
from splat.evaluation.evaluate import HeldOutView, psnr
from splat.export.harmonics import compensated_constants, rounded_harmonics
from splat.export.receipt import CLOSEST, bands, draw, mean_or_none
from splat.export.view_weights import ViewWeights, fewer_bands, view_weights
from splat.formats.settings import Settings
from splat.math import spread
from splat.types import Batch, Drawing, Frame, Gaussians, Renderer

SCORED = 40
"""Most views in which the significance of rows, and their view directions, are surveyed."""
LOOKED_AT = 12
"""Most views in which files are compared."""
PALETTED = (".sog", ".tsog")
"""Formats whose harmonics share a palette."""
LEAST_KEPT = 0.02
"""Least share of the rows that a file may keep."""
HALVINGS = 5
_WEIGHINGS = 4
_SAMPLE = 8
FULL, _ALMOST = 0.99, 0.96
"""Share of a size that is aimed at where it is known what a row weighs, and the share that is
enough."""
_SLACK = 1.05
"""How many rows more are rounded than a trial has, for the next one."""
_MORE_ROWS = 1.1
"""By how much the rows grow where a predicted file lost more than it may."""


@dataclass(frozen=True)
class Variant:
    """A way to write a set: a format, its settings, and the degree of harmonics."""

    suffix: str
    settings: Settings
    degree: int

    def text(self) -> str:
        """The variant in words."""
        text = f"{self.suffix}, {bands(self.degree)}"
        if self.suffix in (".spz", ".html") and self.degree:
            text += " of {}/{} bits".format(*self.settings.sh_bits)
        if self.suffix in PALETTED and self.degree and self.settings.sog_palette:
            text += f", palette {self.settings.sog_palette:,}"
        if self.suffix in PALETTED and self.settings.sog_bits:
            text += ", {}/{}/{}/{}/{} bits".format(*self.settings.sog_bits)
        return text


@dataclass(frozen=True)
class Tried:
    """A file that was written on trial: its size and its quality."""

    variant: Variant
    gaussians: int
    bytes: int
    psnr: float
    """dB on the views looked at: against the photos, or against the pictures of the whole set."""
    loss: float
    """dB below the whole set, on the same views; 0 where there are no photos."""
    predicted: bool = False
    """Whether no such file was written: a sample of its rows was, and drawn among all others."""


@dataclass(frozen=True)
class _Rounded:
    """The most significant rows, as a variant rounds them."""

    variant: Variant
    rows: Int[Tensor, "m"]
    gaussians: Gaussians


@dataclass
class Search:
    """Tries files of a set trained in `frame`, in views that are not those of the receipt."""

    gaussians: Gaussians
    frame: Frame
    drawing: Drawing
    render: Renderer
    background: Float[Tensor, "3"] | None
    sight: ViewWeights
    batches: Sequence[Batch]
    photos: bool = True
    """False: the batches' pixels are no truth; the pictures of the whole set are."""
    finished_for: str | None = None
    """Format that the set was trained for: its own rounding is what was trained."""
    judges: Sequence[HeldOutView] = ()
    """Photos that no trial is trained on, in which losses are counted in place of `batches`."""
    tried: list[Tried] = field(default_factory=list)
    before: float = field(init=False)
    """dB of the whole set on these views."""

    @classmethod
    def over(
        cls,
        batches: Sequence[Batch],
        gaussians: Gaussians,
        frame: Frame,
        drawing: Drawing,
        render: Renderer,
        background: Float[Tensor, "3"] | None,
        *,
        photos: bool,
        finished_for: str | None = None,
    ) -> Search:
        """A search over files of a set, compared in some of the views."""
        scored = [batches[i] for i in spread(len(batches), SCORED)]
        sight = view_weights(gaussians, render, scored, background)
        looked_at = [batches[i] for i in spread(len(batches), LOOKED_AT)]
        return cls(
            gaussians, frame, drawing, render, background, sight, looked_at, photos, finished_for
        )

    def __post_init__(self) -> None:
        self.whole = [self.drawn(self.gaussians, batch) for batch in self.batches]
        self._bands: dict[int, Gaussians] = {}
        self._rounded: _Rounded | None = None
        self.before = self._seen(self.gaussians) if self.photos else CLOSEST

    def reduced(self, variant: Variant, count: int) -> Gaussians:
        """The most significant rows as a variant writes them: of a lower degree, harmonics
        quantised."""
        rounded = self._rounded
        if rounded is None or rounded.variant != variant or len(rounded.rows) < count:
            # Trials of one variant follow each other; sets of others are not kept.
            rows = self.sight.most_significant(min(len(self.gaussians), int(_SLACK * count)))
            part, sight = self.cut(variant.degree).take(rows), self.sight.take(rows)
            self._rounded = rounded = _Rounded(variant, rows, self.on_grid(part, sight, variant))
        if count >= len(rounded.rows):
            return rounded.gaussians
        stay = torch.isin(rounded.rows, self.sight.most_significant(count), assume_unique=True)
        return rounded.gaussians.take(stay.nonzero()[:, 0])

    def final(self, variant: Variant, count: int) -> Gaussians:
        """What is written in the end: as `reduced`, with constants that compensate for a palette.

        Trials go without.
        """
        gaussians = self.reduced(variant, count)
        if variant.suffix not in PALETTED or not variant.degree:
            return gaussians
        weights = self.sight_of(count)
        # As the file has them, in whose order a trial has made the palette already.
        placed = gaussians_from_frame(gaussians, self.frame)
        rounded = formats.quantiser(variant.suffix, placed, variant.settings, weights.seen)
        return compensated_constants(gaussians, weights, rounded(placed).colors)

    def degree_in(self, suffix: str) -> int:
        """Highest degree of the set's harmonics that a format takes."""
        return min(self.gaussians.sh_degree or 0, formats.most_degree(suffix))

    def best(self, suffix: str, settings: Settings) -> Gaussians:
        """All of the set, as a format writes it for what views see of it; with `for_views`
        settings."""
        variant = Variant(suffix, settings, self.degree_in(suffix))
        return self.final(variant, len(self.gaussians))

    def sight_of(self, count: int) -> ViewWeights:
        """What the most significant rows weigh."""
        if count >= len(self.gaussians):
            return self.sight
        return self.sight.take(self.sight.most_significant(count))

    def within(self, variant: Variant, most: int, near: Tried | None = None) -> Tried | None:
        """As many rows as fit into `most` bytes; None where that would be next to nothing.

        `near` is what was predicted of it.
        """
        whole = len(self.gaussians)
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"trial{variant.suffix}"
            if near is None:
                # A few rows say nearly what a row weighs, and take little time to write.
                few = max(1, whole // _SAMPLE)
                count = self._fitting(few, self._write(variant, few, path), most)
            else:
                count = near.gaussians
            fits = written = 0
            for _ in range(_WEIGHINGS):
                if count < max(1, LEAST_KEPT * whole):
                    return None
                weight, written = self._write(variant, count, path), count
                if weight <= most:
                    fits = count
                    if count == whole or weight >= _ALMOST * most:
                        break
                count = self._fitting(count, weight, most)
            if fits != written:
                weight = self._write(variant, fits, path) if fits else 0
            return self.noted(variant, fits, weight, path) if fits else None

    def _fitting(self, count: int, weight: int, most: int) -> int:
        """Rows that fill a size, of which so many weigh so much."""
        return min(len(self.gaussians), int(FULL * count * most / weight))

    def losing(self, variant: Variant, most: float) -> Tried | None:
        """As few rows as lose at most `most` dB; None where all of them lose more."""
        whole = best = self._try(variant, len(self.gaussians))
        if whole.loss > most:
            return None
        low, high = LEAST_KEPT, 1.0
        for _ in range(HALVINGS):
            share = (low + high) / 2
            trial = self._try(variant, max(1, round(share * len(self.gaussians))))
            if trial.loss <= most:
                high, best = share, trial
            else:
                low = share
        return best

    def near(self, promised: Tried, most: float) -> Tried | None:
        """A file such as `promised` that does lose at most `most` dB; None where none is found."""
        count, whole = promised.gaussians, len(self.gaussians)
        while (trial := self._try(promised.variant, count)).loss > most:
            if count == whole:
                return None
            count = min(whole, int(_MORE_ROWS * count) + 1)
        return trial

    def cut(self, degree: int) -> Gaussians:
        """The whole set with so many bands."""
        if degree not in self._bands:
            self.cut_to([degree])
        return self._bands[degree]

    def cut_to(self, degrees: Iterable[int]) -> None:
        """Have the whole set with so many bands each, for what takes less time together."""
        wanted = [degree for degree in set(degrees) if degree not in self._bands]
        sets = fewer_bands(self.gaussians, wanted, self.sight)
        self._bands.update(zip(wanted, sets, strict=True))

    def truth(self, i: int) -> tuple[Tensor, Tensor | None]:
        batch = self.batches[i]
        return (batch.image, batch.mask) if self.photos else (self.whole[i], None)

    def on_grid(self, gaussians: Gaussians, weights: ViewWeights, variant: Variant) -> Gaussians:
        """Harmonics rounded as a format does that rounds them one by one."""
        grid = formats.harmonics_grid(variant.suffix, variant.settings)
        as_trained = gaussians.sh_degree == self.gaussians.sh_degree
        if grid is None or (as_trained and variant.suffix == self.finished_for):
            return gaussians
        return rounded_harmonics(gaussians, weights, grid)

    def _try(self, variant: Variant, count: int) -> Tried:
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"trial{variant.suffix}"
            return self.noted(variant, count, self._write(variant, count, path), path)

    def _write(self, variant: Variant, count: int, path: Path) -> int:
        return self.written(self.reduced(variant, count), self.sight_of(count), variant, path)

    def written(self, part: Gaussians, sight: ViewWeights, variant: Variant, path: Path) -> int:
        formats.write(part, path, self.frame, self.drawing, variant.settings, weights=sight.seen)
        return path.stat().st_size

    def read_back(self, variant: Variant, path: Path) -> Gaussians:
        again = gaussians_to_frame(formats.read(path, variant.settings), self.frame)
        return again.to(self.render.device)

    def noted(self, variant: Variant, count: int, weight: int, path: Path) -> Tried:
        """A file that was written on trial, read back and drawn."""
        seen = self._seen(self.read_back(variant, path))
        trial = Tried(variant, count, weight, seen, self.before - seen if self.photos else 0.0)
        self.tried.append(trial)
        return trial

    def _seen(self, gaussians: Gaussians) -> float:
        values = [
            view.psnr(view.drawn(lambda camera: gaussians, self.render, self.background))
            for view in self.judges
        ]
        for i, batch in enumerate(() if values else self.batches):
            truth, mask = self.truth(i)
            values.append(psnr(self.drawn(gaussians, batch), truth, mask))
        return mean_or_none([min(CLOSEST, value) for value in values]) or CLOSEST

    def count_from(self, gaussians: Gaussians) -> None:
        """Count losses from what another set draws, in place of the whole one."""
        self.before = self._seen(gaussians)

    def drawn(self, gaussians: Gaussians, batch: Batch) -> Float[Tensor, "h w 3"]:
        return draw(gaussians, batch.camera, self.render, self.background)
