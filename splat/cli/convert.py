"""`splat convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch

from splat import formats
from splat.cli.asked.convert import Convert
from splat.cli.instants import write_sequence
from splat.cli.opened import (
    Opened,
    file_search,
    level_training,
    open_scene,
    views_of,
)
from splat.export.receipt import export
from splat.export.search import LOOKED_AT, Variant
from splat.formats.settings import Settings
from splat.math import spread
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.types import Batch, Gaussians


def main(arguments: Sequence[str]) -> int:
    """Convert a file; the exit code."""
    asked = parsed(Convert, "convert", arguments)
    formats.suffix_of(asked.file, written=True)
    if not asked.instants:
        check_free(asked.file, asked.overwrite)
    if not asked.source.is_file():
        raise FileNotFoundError(
            f"{asked.source} is not a file; give a file of Gaussians, or export a run with"
            " `splat export`"
        )
    opened = open_scene(asked.source, asked.device, "auto", asked.settings)
    if asked.instants:
        return _sequence(asked, opened)
    opened = opened if asked.time is None else opened.frozen(asked.time)
    nothing = torch.zeros(1, 1, 3, dtype=torch.uint8)
    cameras = [] if asked.cameras is None else views_of(asked.source, asked.cameras)
    batches = [Batch(opened.placed(camera), nothing) for camera in cameras]
    settings = asked.settings.for_views() if cameras else asked.settings
    gaussians, weights, dropped = _fitted(asked, opened, batches, settings)
    receipt = export(
        gaussians,
        opened.frame,
        asked.file,
        opened.render,
        [batches[i] for i in spread(len(batches), LOOKED_AT)],
        opened.background,
        drawing=opened.drawing,
        settings=settings,
        photos=False,
        whole=opened.seen_by,
        dropped=(*opened.left_out, *dropped),
        cameras=cameras,
        refine=level_training(asked.level_steps, asked.file, len(gaussians), cameras, opened),
        weights=weights,
    )
    print(json.dumps(asdict(receipt), indent=1) if asked.json else receipt.text())
    return 0


def _sequence(asked: Convert, opened: Opened) -> int:
    """Write a file for each of some instants; the exit code."""
    assert asked.instants is not None
    suffix = formats.suffix_of(asked.file, written=True)
    cameras = [] if asked.cameras is None else views_of(asked.source, asked.cameras)
    written = write_sequence(
        opened, asked.file, suffix, asked.instants, asked.settings, cameras, asked.overwrite
    )
    print(json.dumps(asdict(written), indent=1) if asked.json else written.text())
    return 0


def _fitted(
    asked: Convert, opened: Opened, batches: Sequence[Batch], settings: Settings
) -> tuple[Gaussians, torch.Tensor | None, tuple[str, ...]]:
    """The Gaussians to write, with the bands asked for and harmonics fitted to the views, how much
    of each these see, and what was dropped."""
    gaussians, weights = opened.gaussians, None
    whole, suffix = gaussians.sh_degree or 0, formats.suffix_of(asked.file)
    degree = min(whole if asked.sh_degree is None else asked.sh_degree, formats.most_degree(suffix))
    if batches:
        search = file_search(opened, batches, photos=False)
        gaussians = search.final(Variant(suffix, settings, degree), len(gaussians))
        weights = search.sight.seen
        how = "those that stay took over what they drew"
    else:
        gaussians = replace(gaussians, sh_degree=min(degree, whole))
        how = "cut off"
    lost = (f"harmonics beyond degree {degree}, {how}",) if degree < whole else ()
    return gaussians, weights, lost
