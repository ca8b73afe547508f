"""The best file of a size, or the smallest one of a quality.

Of a set that is not large all ways to write it are tried. Of a large one whole files take long, so
what they would be is predicted; the few that promise most are written, until none that is left
promises more than what was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from jaxtyping import Int
from torch import Tensor

from splat import formats
from splat.export.bits import Bits
from splat.export.prediction import SAMPLED, Prediction
from splat.export.search import LEAST_KEPT, PALETTED, Search, Tried, Variant
from splat.export.view_weights import ViewWeights
from splat.formats.settings import Settings
from splat.system.text import size
from splat.types import Drawing, Frame, Gaussians

SH_BITS = ((8, 8), (6, 5), (5, 4), (4, 3))
"""Bits of harmonics in an .spz that are tried: of the first band, of the others."""
PALETTES = (0, 4096, 1024, 256)
"""Rows of the palette of harmonics in a .sog that are tried; 0: by the number of Gaussians."""
SMALL_PALETTE = 1024
"""Rows of the palette at most where all else has few bits; those that nobody takes are gone."""
ROUNDINGS = (0.03, 0.12)
"""dB that the rounding of a .sog may lose by itself where its bits are chosen."""
_LARGE = 4 * SAMPLED
"""Rows from which files are predicted."""
_WRITTEN = 3
"""Files that are written at most, then."""


def variants(
    suffixes: Sequence[str], degree: int, settings: Settings, bits: Sequence[Bits] = ()
) -> list[Variant]:
    """Ways to write a set of so many bands in these formats; `bits`: those of a .sog that are
    tried besides codebooks."""
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
            if suffix in PALETTED and not settings.sog_bits:
                small = [settings.sog_palette or SMALL_PALETTE] if bands_kept else [0]
                choices += [
                    replace(settings, sog_palette=rows, sog_bits=each)
                    for each in bits
                    for rows in small
                ]
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
        fit = _losing(search, ways, loss_most)
        if not fit:
            best = min(search.tried, key=lambda trial: trial.loss)
            raise ValueError(
                f"no file loses at most {loss_most:g} dB: the nearest is {tried_text(best)}; allow"
                " more loss, or another format"
            )
        return min(fit, key=lambda trial: (trial.bytes, trial.loss))
    fit = _within(search, ways, size_most)
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


def _within(search: Search, ways: Sequence[Variant], most: int) -> list[Tried]:
    """Files within a size, the best of which is the best there is."""
    if len(search.gaussians) < _LARGE:
        return [each for way in ways if (each := search.within(way, most)) is not None]
    told = Prediction(search, ways)
    promised = [each for way in ways if (each := told.within(way, most)) is not None]
    search.tried += promised
    found: list[Tried] = []
    off = 0.0
    for each in sorted(promised, key=lambda each: -each.psnr)[:_WRITTEN]:
        # What the last one was off is what the next one may be.
        if found and each.psnr + min(0.0, off) <= max(trial.psnr for trial in found):
            break
        if (trial := search.within(each.variant, most, near=each)) is not None:
            found.append(trial)
            off = trial.psnr - each.psnr
    return found


def _losing(search: Search, ways: Sequence[Variant], most: float) -> list[Tried]:
    """Files within a loss, the smallest of which is the smallest there is."""
    if len(search.gaussians) < _LARGE:
        return [each for way in ways if (each := search.losing(way, most)) is not None]
    told = Prediction(search, ways)
    promised = [each for way in ways if (each := told.losing(way, most)) is not None]
    search.tried += promised
    found: list[Tried] = []
    for each in sorted(promised, key=lambda each: each.bytes)[:_WRITTEN]:
        if found and each.bytes >= min(trial.bytes for trial in found):
            break
        if (trial := search.near(each, most)) is not None:
            found.append(trial)
    return found


def trim(
    gaussians: Gaussians,
    weights: ViewWeights,
    most: int,
    path: Path,
    frame: Frame,
    drawing: Drawing,
    settings: Settings,
) -> Int[Tensor, "m"]:
    """As many of the most significant rows as fit into `most` bytes of a file named like `path`."""
    count = len(gaussians)
    with TemporaryDirectory() as folder:
        trial = Path(folder) / f"trial{formats.suffix_of(path)}"
        while count:
            rows = weights.most_significant(count)
            part, seen = gaussians.take(rows), weights.take(rows).seen
            formats.write(part, trial, frame, drawing, settings, weights=seen)
            weight = trial.stat().st_size
            if weight <= most:
                return rows
            count = min(count - 1, int(0.995 * count * most / weight))
    raise ValueError(f"not one Gaussian fits into {size(most)}; allow more bytes")


def tried_text(tried: Tried) -> str:
    """A trial file in words."""
    return (
        f"{tried.variant.text()}, {tried.gaussians:,} Gaussians, {size(tried.bytes)},"
        f" {tried.loss:+.2f} dB lost"
    )


def trials_table(search: Search, best: Tried) -> str:
    """All trials as a table, the smallest first; a star marks the one chosen, a tilde what was
    predicted."""
    views = f"in {len(search.batches)} training views"
    if search.judges:
        views = f"photos that were kept out ({len(search.judges)})"
        head = f"tried, PSNR against {views}, whole {search.before:.2f} dB:"
    elif search.photos:
        head = f"tried, PSNR against the photos {views}, whole {search.before:.2f} dB:"
    else:
        head = f"tried, PSNR against pictures of the whole set {views}:"
    if any(trial.predicted for trial in search.tried):
        head = f"{head[:-1]} (~ predicted):"
    wide = max(len(trial.variant.text()) for trial in search.tried)
    names = (
        f"{'format':<{wide}} {'Gaussians':>10} {'bytes':>12} {'each':>6} {'PSNR':>7} {'lost':>6}"
    )
    lines = [head, f"    {names}"]
    for trial in sorted(search.tried, key=lambda trial: trial.bytes):
        star = "*" if trial is best else "~" if trial.predicted else " "
        lines.append(
            f"  {star} {trial.variant.text():<{wide}} {trial.gaussians:>10,} {trial.bytes:>12,}"
            f" {trial.bytes / trial.gaussians:>6.1f} {trial.psnr:>7.2f} {trial.loss:>6.2f}"
        )
    return "\n".join(lines)
