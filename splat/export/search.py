"""Rate-distortion search: the smallest file of a quality, or the best one of a size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from jaxtyping import Float
from torch import Tensor

from splat import formats
from splat.core.frame import gaussians_to_frame
from splat.evaluation.evaluate import psnr
from splat.export.harmonics import compensated_constants, rounded_harmonics
from splat.export.receipt import CLOSEST, bands, draw, mean_or_none
from splat.export.view_weights import ViewWeights, with_fewer_bands
from splat.formats.settings import Settings
from splat.system.text import size
from splat.types import Batch, Drawing, Frame, Gaussians, Renderer

SH_BITS = ((8, 8), (6, 5), (5, 4), (4, 3))
"""Bits of harmonics in an .spz that are tried: of the first band, of the others."""
PALETTED = (".sog", ".tsog")
"""Formats whose harmonics share a palette."""
PALETTES = (0, 4096, 1024, 256)
"""Rows of the palette of harmonics in a .sog that are tried; 0: by the number of Gaussians."""
LEAST_KEPT = 0.02
"""Least share of the rows that a file may keep."""
_HALVINGS = 5
_WEIGHINGS = 4
_SAMPLE = 8
_FULL, _ALMOST = 0.99, 0.96
"""Share of a size that is aimed at, and the share that is enough."""


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
    tried: list[Tried] = field(default_factory=list)
    before: float = field(init=False)
    """dB of the whole set on these views."""

    def __post_init__(self) -> None:
        self._whole = [self._drawn(self.gaussians, batch) for batch in self.batches]
        self._bands: dict[int, Gaussians] = {}
        self._rounded: dict[Variant, Gaussians] = {}
        self.before = self._seen(self.gaussians) if self.photos else CLOSEST

    def reduced(self, variant: Variant, count: int) -> Gaussians:
        """The most significant rows as a variant writes them: of a lower degree, harmonics
        quantised."""
        degree = variant.degree
        if degree not in self._bands:
            self._bands[degree] = with_fewer_bands(self.gaussians, degree, self.sight)
        if variant not in self._rounded:
            gaussians = self._bands[degree]
            grid = formats.harmonics_grid(variant.suffix, variant.settings)
            if gaussians is self.gaussians and variant.suffix == self.finished_for:
                grid = None
            # Trials of one variant follow each other; sets of others are not kept.
            self._rounded = {
                variant: gaussians
                if grid is None
                else rounded_harmonics(gaussians, self.sight, grid)
            }
        gaussians = self._rounded[variant]
        return (
            gaussians
            if count >= len(gaussians)
            else gaussians.take(self.sight.most_significant(count))
        )

    def final(self, variant: Variant, count: int) -> Gaussians:
        """What is written in the end: as `reduced`, with constants that compensate for a palette.

        That takes as long as writing, so trials go without.
        """
        gaussians = self.reduced(variant, count)
        if variant.suffix not in PALETTED or not variant.degree:
            return gaussians
        rows = self.sight.most_significant(count)
        weights = self.sight if count >= len(self.gaussians) else self.sight.take(rows)
        drawn = formats.quantiser(variant.suffix, gaussians, variant.settings)(gaussians).colors
        return compensated_constants(gaussians, weights, drawn)

    def within(self, variant: Variant, most: int) -> Tried | None:
        """As many rows as fit into `most` bytes; None where that would be next to nothing."""
        whole = len(self.gaussians)
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"trial{variant.suffix}"
            # A few rows say nearly what a row weighs, and take little time to write.
            count = max(1, whole // _SAMPLE)
            fits, weight = 0, self._write(variant, count, path)
            for _ in range(_WEIGHINGS):
                count = min(whole, int(_FULL * count * most / weight))
                if count < max(1, LEAST_KEPT * whole):
                    return None
                weight = self._write(variant, count, path)
                if weight <= most:
                    fits = count
                    if count == whole or weight >= _ALMOST * most:
                        break
            if fits != count:
                weight = self._write(variant, fits, path) if fits else 0
            return self._noted(variant, fits, weight, path) if fits else None

    def losing(self, variant: Variant, most: float) -> Tried | None:
        """As few rows as lose at most `most` dB; None where all of them lose more."""
        whole = best = self._try(variant, len(self.gaussians))
        if whole.loss > most:
            return None
        low, high = LEAST_KEPT, 1.0
        for _ in range(_HALVINGS):
            share = (low + high) / 2
            trial = self._try(variant, max(1, round(share * len(self.gaussians))))
            if trial.loss <= most:
                high, best = share, trial
            else:
                low = share
        return best

    def _try(self, variant: Variant, count: int) -> Tried:
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"trial{variant.suffix}"
            return self._noted(variant, count, self._write(variant, count, path), path)

    def _write(self, variant: Variant, count: int, path: Path) -> int:
        part = self.reduced(variant, count)
        formats.write(part, path, self.frame, self.drawing, variant.settings)
        return path.stat().st_size

    def _noted(self, variant: Variant, count: int, weight: int, path: Path) -> Tried:
        again = gaussians_to_frame(formats.read(path, variant.settings), self.frame).to(
            self.render.device
        )
        seen = self._seen(again)
        trial = Tried(variant, count, weight, seen, self.before - seen if self.photos else 0.0)
        self.tried.append(trial)
        return trial

    def _seen(self, gaussians: Gaussians) -> float:
        values = []
        for batch, whole in zip(self.batches, self._whole, strict=True):
            truth, mask = (batch.image, batch.mask) if self.photos else (whole, None)
            values.append(min(CLOSEST, psnr(self._drawn(gaussians, batch), truth, mask)))
        return mean_or_none(values) or CLOSEST

    def _drawn(self, gaussians: Gaussians, batch: Batch) -> Float[Tensor, "h w 3"]:
        return draw(gaussians, batch.camera, self.render, self.background)


def variants(suffixes: Sequence[str], degree: int, settings: Settings) -> list[Variant]:
    """Ways to write a set of so many bands in these formats."""
    ways = []
    for suffix in suffixes:
        most = min(degree, formats.most_degree(suffix))
        # In a palette fewer bands save next to nothing.
        degrees = {most, 0} if suffix in PALETTED else range(most, -1, -1)
        for bands_kept in sorted(degrees, reverse=True):
            choices = [settings]
            if suffix in (".spz", ".html") and bands_kept:
                choices = [replace(settings, spz_sh_bits=bits) for bits in SH_BITS]
            if suffix in PALETTED and bands_kept and not settings.sog_palette:
                choices = [replace(settings, sog_palette=rows) for rows in PALETTES]
            ways += [Variant(suffix, choice, bands_kept) for choice in choices]
    return ways


def choose(
    search: Search, ways: Sequence[Variant], size_most: int | None, loss_most: float | None
) -> Tried:
    """The best file within a size, or the smallest within a loss.

    Raises ValueError where no file meets what is asked for, saying what came nearest.
    """
    if size_most is None:
        assert loss_most is not None
        trials = [search.losing(way, loss_most) for way in ways]
        fit = [trial for trial in trials if trial is not None]
        if not fit:
            best = min(search.tried, key=lambda trial: trial.loss)
            raise ValueError(
                f"no file loses at most {loss_most:g} dB: the nearest is {tried_text(best)}; allow"
                " more loss, or another format"
            )
        return min(fit, key=lambda trial: (trial.bytes, trial.loss))
    trials = [search.within(way, size_most) for way in ways]
    fit = [trial for trial in trials if trial is not None]
    if not fit:
        least = formats.size_of(len(search.gaussians), 0, ways[0].suffix)
        raise ValueError(
            f"no file of {size(size_most)} holds even {LEAST_KEPT:.0%} of"
            f" {len(search.gaussians):,} Gaussians, which take up to {size(least)} without"
            " harmonics; allow more bytes, or train with a smaller --budget"
        )
    best = max(fit, key=lambda trial: (trial.psnr, -trial.bytes))
    if loss_most is not None and best.loss > loss_most:
        raise ValueError(
            f"no file of at most {size(size_most)} loses at most {loss_most:g} dB: the nearest is"
            f" {tried_text(best)}; allow more bytes or more loss"
        )
    return best


def trim(
    gaussians: Gaussians,
    weights: ViewWeights,
    most: int,
    path: Path,
    frame: Frame,
    drawing: Drawing,
    settings: Settings,
) -> Gaussians:
    """As many of the most significant rows as fit into `most` bytes of a file named like `path`."""
    count = len(gaussians)
    with TemporaryDirectory() as folder:
        trial = Path(folder) / f"trial{formats.suffix_of(path)}"
        while count:
            part = (
                gaussians
                if count == len(gaussians)
                else gaussians.take(weights.most_significant(count))
            )
            formats.write(part, trial, frame, drawing, settings)
            weight = trial.stat().st_size
            if weight <= most:
                return part
            count = min(count - 1, int(0.995 * count * most / weight))
    raise ValueError(f"not one Gaussian fits into {size(most)}; allow more bytes")


def tried_text(tried: Tried) -> str:
    """A trial file in words."""
    return (
        f"{tried.variant.text()}, {tried.gaussians:,} Gaussians, {size(tried.bytes)},"
        f" {tried.loss:+.2f} dB lost"
    )


def trials_table(search: Search, best: Tried) -> str:
    """All trials as a table, the smallest first; a star marks the one chosen."""
    views = f"in {len(search.batches)} training views"
    if search.photos:
        head = f"tried, PSNR against the photos {views}, whole {search.before:.2f} dB:"
    else:
        head = f"tried, PSNR against pictures of the whole set {views}:"
    names = f"{'format':<32} {'Gaussians':>10} {'bytes':>12} {'each':>6} {'PSNR':>7} {'lost':>6}"
    lines = [head, f"    {names}"]
    for trial in sorted(search.tried, key=lambda trial: trial.bytes):
        star = "*" if trial is best else " "
        lines.append(
            f"  {star} {trial.variant.text():<32} {trial.gaussians:>10,} {trial.bytes:>12,}"
            f" {trial.bytes / trial.gaussians:>6.1f} {trial.psnr:>7.2f} {trial.loss:>6.2f}"
        )
    return "\n".join(lines)
