"""Which rows a file of `splat export` holds: all, those that were asked for, or as few as meet a
size or a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from splat import formats
from splat.cli.asked.export import Export
from splat.cli.opened import Opened, file_search
from splat.evaluation.evaluate import HeldOutView
from splat.export.bits import dealt_bits
from splat.export.chart import rate_chart
from splat.export.choice import ROUNDINGS, choose, trials_table, trim, variants
from splat.export.retrain import Others, Pictures, retrain
from splat.export.search import LOOKED_AT, PALETTED, Search, Tried, Variant
from splat.export.smallest import BIT, smallest
from splat.export.view_weights import ViewWeights, view_weights
from splat.formats.settings import Settings
from splat.options.verbs import check_free
from splat.photos.loader import Loader
from splat.rules.views import even_views
from splat.runs.folder import existing, read_config
from splat.sensor.corrected import Corrected
from splat.types import Batch, Gaussians

_NO_PHOTOS = "--refine trains on the photos, which cannot be read; leave it out, or put them back"


@dataclass(frozen=True)
class Seen:
    """Views that a file is compared in."""

    held_out: Sequence[Batch]
    training: Sequence[Batch]
    photos: Loader | Corrected | None
    """The training views, in the exposure that the Gaussians have; None where the photos cannot be
    read, and pictures are empty."""
    tests: bool = True
    """Whether what is held out are photos of their own; else it is the first that is trained on."""


@dataclass(frozen=True)
class Part:
    """The rows to write, and how."""

    gaussians: Gaussians
    out: Path
    settings: Settings
    dropped: tuple[str, ...] = ()
    weights: torch.Tensor | None = None
    """How much of each row views see."""
    judges: frozenset[str] = frozenset()
    """Names of the held-out photos that chose it, where enough others are left to measure it."""


@dataclass(frozen=True)
class Goal:
    """What a file is to meet."""

    suffixes: Sequence[str]
    """Formats, of which one is chosen where a size or a loss is asked for."""
    size_most: int | None
    """Bytes (--target-size)."""
    loss_most: float | None
    """dB (--max-loss)."""


def rows_to_write(asked: Export, opened: Opened, seen: Seen, goal: Goal) -> Part:
    """The rows of a file, and how they are written.

    Raises `ValueError` where no file meets the goal, or --refine has no photos.
    """
    if _as_it_is(asked, opened):
        part = Part(opened.gaussians, asked.out, asked.settings)
    else:
        finished_for = read_config(existing(asked.run).config).options.finish_for
        photos = seen.photos is not None
        search = file_search(opened, seen.training, photos=photos, finished_for=finished_for)
        if asked.refine and goal.loss_most is not None and goal.size_most is None:
            return _smallest(asked, search, goal.suffixes, goal.loss_most, opened, seen)
        if asked.target:
            part = _chosen(asked, search, goal)
        else:
            part = _asked(asked, search)
    if asked.refine:
        part = _refined(part, opened, seen, asked.refine, goal.size_most)
    return part


def _as_it_is(asked: Export, opened: Opened) -> bool:
    """Whether the file will hold the set without loss, so that no view is needed."""
    if asked.target or asked.keep is not None or asked.sh_degree is not None:
        return False
    suffix = formats.suffix_of(asked.out)
    rounds = suffix in PALETTED or formats.harmonics_grid(suffix, asked.settings) is not None
    return not rounds and (opened.gaussians.sh_degree or 0) <= formats.most_degree(suffix)


def _chosen(asked: Export, search: Search, goal: Goal) -> Part:
    """The rows and the variant that meet a size or a loss."""
    ways = _ways(asked, search, goal.suffixes)
    best = choose(search, ways, goal.size_most, goal.loss_most)
    out = _said(asked, search, best)
    part = search.final(best.variant, best.gaussians)
    return Part(
        part,
        out,
        best.variant.settings,
        _reduced(search.gaussians, part),
        search.sight_of(best.gaussians).seen,
    )


def _smallest(
    asked: Export,
    search: Search,
    suffixes: Sequence[str],
    loss_most: float,
    opened: Opened,
    seen: Seen,
) -> Part:
    """As few rows as meet a loss once they are trained.

    Pictures that rows were trained on say little of what is lost elsewhere. Where photos are held
    out they judge; of many some do, and the others measure what was chosen. Else some photos are
    kept out of all trials, losses are counted from the whole set trained as long without them, and
    what is written was trained on all.
    """
    if seen.photos is None:
        raise ValueError(_NO_PHOTOS)
    photos: Pictures = seen.photos
    judges = _judges(seen, opened)
    if not judges:
        count = len(photos.cameras)
        kept = even_views(photos.cameras, min(LOOKED_AT, max(1, count // 8)))
        judges = [HeldOutView(seen.photos.batch(i)) for i in kept]
        photos = Others(photos, kept) if count > 1 else photos
    search = replace(search, judges=judges, tried=[])
    if photos is not seen.photos:
        # The run was trained on these photos too, and forgets them as trials do.
        search.count_from(
            retrain(
                search.gaussians, opened.frame, photos, opened.render, opened.background,
                drawing=opened.drawing, steps=asked.refine,
            )
        )  # fmt: skip

    def refined(rows: Gaussians, sight: ViewWeights, variant: Variant) -> Gaussians:
        return _trained(part_of(rows, sight, variant), opened, photos, asked.refine, BIT)

    def part_of(rows: Gaussians, sight: ViewWeights, variant: Variant) -> Part:
        reduced = _reduced(search.gaussians, rows)
        place = asked.out.with_name(f"x{variant.suffix}")
        return Part(rows, place, variant.settings, reduced, sight.seen)

    small = smallest(search, suffixes, asked.settings, loss_most, refined)
    out, variant = _said(asked, search, small.tried), small.tried.variant
    if photos is seen.photos:
        part = replace(part_of(small.gaussians, small.sight, variant), out=out)
        if len(seen.held_out) < 2 * len(judges):
            return part
        return replace(part, judges=frozenset(view.batch.name for view in judges))
    part = part_of(search.final(variant, small.tried.gaussians), small.sight, variant)
    rows = _trained(part, opened, seen.photos, asked.refine, BIT)
    return replace(part, gaussians=rows, out=out)


def _judges(seen: Seen, opened: Opened) -> list[HeldOutView]:
    """Held-out photos that judge, as the run is measured by them; none where none is held out."""
    if not seen.tests:
        return []
    places = even_views([batch.camera for batch in seen.held_out], LOOKED_AT)
    chosen = [seen.held_out[i] for i in places]
    return [HeldOutView(batch) if opened.fit is None else opened.fit(batch) for batch in chosen]


def _ways(asked: Export, search: Search, suffixes: Sequence[str]) -> list[Variant]:
    """Ways to write a set; the bits of a .sog by what the views see of its rounding."""
    bits = dealt_bits(search, ROUNDINGS) if set(PALETTED) & set(suffixes) else []
    return variants(suffixes, search.gaussians.sh_degree or 0, asked.settings, bits)


def _said(asked: Export, search: Search, best: Tried) -> Path:
    """Say what was tried, and where the file will be."""
    if asked.plot is not None:
        rate_chart(search, best, asked.plot)
    if not asked.quiet and not asked.json:
        print(trials_table(search, best))
    if not asked.formats:
        return asked.out
    out = with_end(asked.out, best.variant.suffix)
    check_free(out, asked.overwrite)
    return out


def _asked(asked: Export, search: Search) -> Part:
    """The rows that --keep and --sh-degree ask for."""
    suffix = formats.suffix_of(asked.out)
    degree = search.degree_in(suffix)
    wanted = degree if asked.sh_degree is None else min(degree, asked.sh_degree)
    count = max(1, round((asked.keep or 1) * len(search.gaussians)))
    settings = asked.settings.for_views()
    part = search.final(Variant(suffix, settings, wanted), count)
    reduced = _reduced(search.gaussians, part)
    return Part(part, asked.out, settings, reduced, search.sight_of(count).seen)


def _refined(part: Part, opened: Opened, seen: Seen, steps: int, size_most: int | None) -> Part:
    """The rows, fine-tuned, and trimmed to the size of the file."""
    if seen.photos is None:
        raise ValueError(_NO_PHOTOS)
    gaussians = _trained(part, opened, seen.photos, steps)
    weights, dropped = part.weights, part.dropped
    if size_most is not None:
        looked = view_weights(gaussians, opened.render, seen.training, opened.background)
        rows = trim(
            gaussians, looked, size_most, part.out, opened.frame, opened.drawing, part.settings
        )
        gone = len(gaussians) - len(rows)
        gaussians, weights = gaussians.take(rows), looked.take(rows).seen
        if gone:
            dropped = (*dropped, f"{gone:,} Gaussians more, to stay within the size")
    return replace(part, gaussians=gaussians, dropped=dropped, weights=weights)


def _trained(
    part: Part, opened: Opened, photos: Pictures, steps: int, bits: float = 0.0
) -> Gaussians:
    """The rows, fine-tuned as the file will have them; `bits` as for `retrain`."""
    return retrain(
        part.gaussians,
        opened.frame,
        photos,
        opened.render,
        opened.background,
        drawing=opened.drawing,
        suffix=formats.suffix_of(part.out),
        settings=part.settings,
        steps=steps,
        weights=part.weights,
        bits=bits,
    )


def _reduced(whole: Gaussians, part: Gaussians) -> tuple[str, ...]:
    """What was removed on purpose, a phrase each."""
    reductions = []
    if gone := len(whole) - len(part):
        share = gone / len(whole)
        reductions.append(
            f"{gone:,} of {len(whole):,} Gaussians ({share:.0%}), the least significant"
        )
    if (part.sh_degree or 0) < (whole.sh_degree or 0):
        reductions.append(
            f"harmonics beyond degree {part.sh_degree}; those that stay took over what they drew"
        )
    return tuple(reductions)


def with_end(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
