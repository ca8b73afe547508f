"""`splat export`."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from splat import api, formats
from splat.cli.asked.export import Export
from splat.cli.instants import write_sequence
from splat.cli.opened import (
    LOOKED_AT,
    SCORED,
    Opened,
    cameras_of,
    clip_seconds,
    file_search,
    held_out,
    level_training,
    open_scene,
    trained_from,
)
from splat.core.model import Model
from splat.evaluation.evaluate import HeldOutView
from splat.export.bits import dealt_bits
from splat.export.chart import rate_chart
from splat.export.choice import ROUNDINGS, choose, trials_table, trim, variants
from splat.export.receipt import Receipt, export
from splat.export.retrain import Others, Pictures, retrain
from splat.export.search import PALETTED, Search, Tried, Variant
from splat.export.smallest import smallest
from splat.export.view_weights import ViewWeights, view_weights
from splat.formats.settings import Settings
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.photos.loader import Loader
from splat.planning import predict
from splat.prep.report import origin_of
from splat.recipes.model_files import ModelFile, model_file, written
from splat.rules.views import even_views
from splat.runs.folder import existing, read_config, same_views
from splat.sensor import Sensor
from splat.sensor.corrected import Corrected
from splat.system.colours import hexadecimal
from splat.system.numbers import amount
from splat.training.prepare import loaders
from splat.types import Batch, Gaussians

_log = logging.getLogger(__name__)


_NO_PHOTOS = "--refine trains on the photos, which cannot be read; leave it out, or put them back"


@dataclass(frozen=True)
class _Seen:
    """Views that a file is compared in."""

    held_out: Sequence[Batch]
    training: Sequence[Batch]
    photos: Loader | Corrected | None
    """The training views, in the exposure that the Gaussians have; None where the photos cannot be
    read, and pictures are empty."""
    tests: bool = True
    """Whether what is held out are photos of their own; else it is the first that is trained on."""


@dataclass(frozen=True)
class _Part:
    """The rows to write, and how."""

    gaussians: Gaussians
    out: Path
    settings: Settings
    dropped: tuple[str, ...] = ()
    weights: torch.Tensor | None = None
    """How much of each row views see."""
    judges: frozenset[str] = frozenset()
    """Names of the held-out photos that chose it, where enough others are left to measure it."""


def main(arguments: Sequence[str]) -> int:
    """Export a run; the exit code."""
    asked = parsed(Export, "export", arguments)
    if (own := model_file(asked.out.suffix)) is not None:
        return _model(asked, own)
    size_most, loss_most = _size(asked.target_size), _loss(asked.max_loss)
    suffixes = tuple(f".{suffix.lstrip('.')}" for suffix in asked.formats) or (
        formats.suffix_of(asked.out, written=True),
    )
    if asked.formats and any(map(asked.out.name.lower().endswith, formats.suffixes(written=True))):
        raise ValueError(
            f"{asked.out} names a format, and --formats are given; expected a name without an"
            " ending, for theirs to be added to"
        )
    for suffix in suffixes:
        formats.suffix_of(Path(f"x{suffix}"), written=True)
        if asked.target and not formats.one_file(suffix):
            raise ValueError(
                f"{suffix} is not one file, and --target-size and --max-loss choose one; leave them"
                " out, or export to another format"
            )
    several = bool(asked.formats) and not asked.target
    files = [asked]
    if several:
        files = [replace(asked, out=_with_end(asked.out, end), formats=()) for end in suffixes]
    for file in files:
        if not file.formats and not file.instants:
            check_free(file.out, asked.overwrite)
    opened = open_scene(asked.run, asked.device, "auto", exposure=asked.exposure_of)
    if asked.instants:
        return _sequence(asked, opened, suffixes[0])
    if asked.time is not None:
        opened = opened.frozen(asked.time)
    elif opened.moves:
        if asked.target or asked.refine or asked.keep is not None:
            raise ValueError(
                f"{asked.run} moves, and --target-size, --max-loss, --keep and --refine are for"
                " what stands still; leave them out, or write one instant with --time"
            )
        seconds = clip_seconds(existing(asked.run).cameras)
        files = [replace(f, settings=replace(f.settings, page_seconds=seconds)) for f in files]
    files = [_on_the_globe(file) for file in files]
    if opened.background is not None:
        behind = hexadecimal(opened.background.tolist())
        files = [_with_background(file, behind) for file in files]
    receipts = []
    with _views(asked.run, opened) as seen:
        seen = seen if asked.time is None else replace(seen, photos=None)
        for file in files:
            receipt = _exported(file, opened, seen, suffixes, size_most, loss_most)
            receipts.append(asdict(receipt))
            if not asked.json:
                print(receipt.text())
    if asked.json:
        print(json.dumps(receipts if several else receipts[0], indent=1))
    return 0


def _sequence(asked: Export, opened: Opened, suffix: str) -> int:
    """Write a file for each of some instants; the exit code."""
    assert asked.instants is not None
    cameras = [camera for camera, _ in cameras_of(existing(asked.run).cameras)]
    written = write_sequence(
        opened, asked.out, suffix, asked.instants, asked.settings, cameras, asked.overwrite
    )
    print(written.text() if not asked.json else json.dumps(asdict(written), indent=1))
    return 0


def _with_background(asked: Export, behind: str) -> Export:
    """With the colour that was behind everything in training, where a page is not told another."""
    if asked.settings.page_background != "auto":
        return asked
    return replace(asked, settings=replace(asked.settings, page_background=behind))


def _on_the_globe(asked: Export) -> Export:
    """With the place of the scene's origin, where `splat prep` found it by GPS and the file is one
    that lies on the globe."""
    if not asked.out.name.lower().endswith("tileset.json") or asked.settings.tiles_origin:
        return asked
    place = origin_of(read_config(existing(asked.run).config).scene)
    if place is None:
        return asked
    return replace(asked, settings=replace(asked.settings, tiles_origin=place))


def _with_end(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _exported(
    asked: Export,
    opened: Opened,
    seen: _Seen,
    suffixes: Sequence[str],
    size_most: int | None,
    loss_most: float | None,
) -> Receipt:
    """Write one file."""
    place = existing(asked.run)
    if _as_it_is(asked, opened):
        part = _Part(opened.gaussians, asked.out, asked.settings)
    else:
        finished_for = read_config(place.config).options.finish_for
        photos = seen.photos is not None
        search = file_search(opened, seen.training, photos=photos, finished_for=finished_for)
        if asked.refine and loss_most is not None and size_most is None:
            part = _smallest(asked, search, suffixes, loss_most, opened, seen)
        elif asked.target:
            part = _chosen(asked, search, suffixes, size_most, loss_most)
        else:
            part = _asked(asked, search)
    if asked.refine and (loss_most is None or size_most is not None):
        part = _refined(part, opened, seen, asked.refine, size_most)
    return export(
        part.gaussians,
        opened.frame,
        part.out,
        opened.render,
        [batch for batch in seen.held_out if batch.name not in part.judges],
        opened.background,
        drawing=opened.drawing,
        settings=part.settings,
        photos=seen.photos is not None,
        whole=opened.seen_by,
        dropped=(*opened.left_out, *part.dropped),
        cameras=[camera for camera, _ in cameras_of(place.cameras)],
        refine=level_training(
            asked.level_steps,
            part.out,
            len(part.gaussians),
            trained_from(place.cameras),
            opened,
        ),
        fit=opened.fit,
        weights=part.weights,
    )


def _model(asked: Export, own: ModelFile) -> int:
    """Write the model itself, not the Gaussians that it makes; the exit code."""
    if asked.target or asked.keep is not None or asked.sh_degree is not None or asked.refine:
        raise ValueError(
            f"{asked.out.name} holds a model as it was trained; nothing can be left out of it:"
            " train with scaffold + coded, forest-inspired, or + deform + planes-coded, and a"
            " larger --rate for a smaller file"
        )
    check_free(asked.out, asked.overwrite)
    opened = open_scene(asked.run, asked.device, "auto", exposure=asked.exposure_of)
    if not isinstance(opened.seen_by, Model):
        raise ValueError(
            f"{asked.run} has Gaussians and nothing else that {asked.out.suffix} files are for;"
            f" give {asked.out.name} another ending, such as .spz, or train with scaffold, whose"
            " files are .anchors, forest-inspired (.forest), or + deform (.clip)"
        )
    with _views(asked.run, opened) as seen:
        receipt = written(
            own,
            opened.seen_by,
            asked.out,
            opened.frame,
            opened.render,
            seen.held_out,
            opened.background,
            drawing=opened.drawing,
            plain=asked.plain,
            photos=seen.photos is not None,
            fit=opened.fit,
        )
    print(json.dumps(vars(receipt), indent=1) if asked.json else receipt.text())
    return 0


def _as_it_is(asked: Export, opened: Opened) -> bool:
    """Whether the file will hold the set without loss, so that no view is needed."""
    if asked.target or asked.keep is not None or asked.sh_degree is not None:
        return False
    suffix = formats.suffix_of(asked.out)
    rounds = suffix in PALETTED or formats.harmonics_grid(suffix, asked.settings) is not None
    return not rounds and (opened.gaussians.sh_degree or 0) <= formats.most_degree(suffix)


def _chosen(
    asked: Export,
    search: Search,
    suffixes: Sequence[str],
    size_most: int | None,
    loss_most: float | None,
) -> _Part:
    """The rows and the variant that meet a size or a loss."""
    best = choose(search, _ways(asked, search, suffixes), size_most, loss_most)
    out = _said(asked, search, best)
    part = search.final(best.variant, best.gaussians)
    return _Part(
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
    seen: _Seen,
) -> _Part:
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
        return _trained(part_of(rows, sight, variant), opened, photos, asked.refine)

    def part_of(rows: Gaussians, sight: ViewWeights, variant: Variant) -> _Part:
        reduced = _reduced(search.gaussians, rows)
        place = asked.out.with_name(f"x{variant.suffix}")
        return _Part(rows, place, variant.settings, reduced, sight.seen)

    small = smallest(search, suffixes, asked.settings, loss_most, refined)
    out, variant = _said(asked, search, small.tried), small.tried.variant
    if photos is seen.photos:
        part = replace(part_of(small.gaussians, small.sight, variant), out=out)
        if len(seen.held_out) < 2 * len(judges):
            return part
        return replace(part, judges=frozenset(view.batch.name for view in judges))
    part = part_of(search.final(variant, small.tried.gaussians), small.sight, variant)
    rows = _trained(part, opened, seen.photos, asked.refine)
    return replace(part, gaussians=rows, out=out)


def _judges(seen: _Seen, opened: Opened) -> list[HeldOutView]:
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
    out = _with_end(asked.out, best.variant.suffix)
    check_free(out, asked.overwrite)
    return out


def _asked(asked: Export, search: Search) -> _Part:
    """The rows that --keep and --sh-degree ask for."""
    suffix = formats.suffix_of(asked.out)
    degree = min(search.gaussians.sh_degree or 0, formats.most_degree(suffix))
    wanted = degree if asked.sh_degree is None else min(degree, asked.sh_degree)
    count = max(1, round((asked.keep or 1) * len(search.gaussians)))
    settings = asked.settings.for_views()
    part = search.final(Variant(suffix, settings, wanted), count)
    reduced = _reduced(search.gaussians, part)
    return _Part(part, asked.out, settings, reduced, search.sight_of(count).seen)


def _refined(part: _Part, opened: Opened, seen: _Seen, steps: int, size_most: int | None) -> _Part:
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


def _trained(part: _Part, opened: Opened, photos: Pictures, steps: int) -> Gaussians:
    """The rows, fine-tuned as the file will have them."""
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


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    count, of_bytes = amount(text)
    if not of_bytes:
        raise ValueError(f"target-size is {text!r}; expected bytes, such as 8MB")
    return count


def _loss(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(?:db)?", text.strip().lower())
    if match is None:
        raise ValueError(f"max-loss is {text!r}; expected dB, such as 0.2dB")
    return float(match.group(1))


@contextmanager
def _views(run: Path, opened: Opened) -> Iterator[_Seen]:
    """Views to compare in: with their photos, or with empty pictures where those cannot be read."""
    place = existing(run)
    config = read_config(place.config)
    device = opened.render.device
    try:
        scene = api.reread(config, placed=place.cameras)
        same_views(config, scene)
    except (OSError, ValueError) as error:
        _log.warning("the photos cannot be read, so pictures are compared without them: %s", error)
        nothing = torch.zeros(1, 1, 3, dtype=torch.uint8, device=device)
        cameras = cameras_of(place.cameras)
        test = [Batch(opened.placed(camera), nothing) for camera in held_out(cameras)]
        every = [Batch(opened.placed(camera), nothing) for camera, _ in cameras]
        yield _Seen(test, every, None)
        return
    options = predict.with_device_defaults(config.options, device)
    photos, test_photos = loaders(scene, options, opened.frame, device)
    with closing(photos), closing(test_photos or photos):
        even: Loader | Corrected = photos
        if opened.tones is not None:
            even = Corrected(photos, Sensor(tone=opened.tones), opened.exposure)
        training = _decoded(even, SCORED)
        test = training[:1] if test_photos is None else _decoded(test_photos, len(test_photos))
        yield _Seen(test, training, even, tests=test_photos is not None)


def _decoded(photos: Loader | Corrected, most: int) -> list[Batch]:
    return [photos.batch(i) for i in even_views(photos.cameras, most)]
