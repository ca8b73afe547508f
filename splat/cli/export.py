"""`splat export`."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch

from splat import api, formats
from splat.cli.asked.export import Export
from splat.cli.export_rows import Goal, Seen, rows_to_write, with_end
from splat.cli.instants import write_sequence
from splat.cli.opened import (
    Opened,
    cameras_of,
    clip_seconds,
    held_out,
    level_training,
    open_scene,
    trained_from,
)
from splat.core.model import Model
from splat.export.receipt import Receipt, export
from splat.export.search import SCORED
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
from splat.types import Batch

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Export a run; the exit code."""
    asked = parsed(Export, "export", arguments)
    if (own := model_file(asked.out.suffix)) is not None:
        return _model(asked, own)
    suffixes = tuple(f".{suffix.lstrip('.')}" for suffix in asked.formats) or (
        formats.suffix_of(asked.out, written=True),
    )
    goal = Goal(suffixes, _size(asked.target_size), _loss(asked.max_loss))
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
        files = [replace(asked, out=with_end(asked.out, end), formats=()) for end in suffixes]
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
            receipt = _exported(file, opened, seen, goal)
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


def _exported(asked: Export, opened: Opened, seen: Seen, goal: Goal) -> Receipt:
    """Write one file."""
    place = existing(asked.run)
    part = rows_to_write(asked, opened, seen, goal)
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
def _views(run: Path, opened: Opened) -> Iterator[Seen]:
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
        yield Seen(test, every, None)
        return
    options = predict.with_device_defaults(config.options, device)
    photos, test_photos = loaders(scene, options, opened.frame, device)
    with closing(photos), closing(test_photos or photos):
        even: Loader | Corrected = photos
        if opened.tones is not None:
            even = Corrected(photos, Sensor(tone=opened.tones), opened.exposure)
        training = _decoded(even, SCORED)
        test = training[:1] if test_photos is None else _decoded(test_photos, len(test_photos))
        yield Seen(test, training, even, tests=test_photos is not None)


def _decoded(photos: Loader | Corrected, most: int) -> list[Batch]:
    return [photos.batch(i) for i in even_views(photos.cameras, most)]
