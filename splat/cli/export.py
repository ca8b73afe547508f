"""`splat export`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from splat import api, plan
from splat.cli.parse import parsed
from splat.cli.trained import Trained, cameras_of, held_out, trained
from splat.finish import exported
from splat.folder import existing, read_config, same_views
from splat.job import loaders
from splat.types import Batch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export:
    """Write the Gaussians of a run to a file, in the frame of the scene.

    The file is read back and drawn in the held-out views: what it lost is printed.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run; its last checkpoint is taken."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The file; its ending says which format: .ply."""
    overwrite: bool = False
    """Replace the file that is there."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to draw."""
    json: bool = False
    """Print the figures as JSON."""
    quiet: bool = False
    """Say nothing but warnings and the result."""


def main(arguments: Sequence[str]) -> int:
    """Export; the exit code."""
    asked = parsed(Export, "export", arguments)
    if asked.out.exists() and not asked.overwrite:
        raise FileExistsError(
            f"{asked.out} exists; replace it with --overwrite, or give another name"
        )
    found = trained(asked.run, asked.device, "auto")
    batches, photos = _views(asked, found)
    receipt = exported(
        found.gaussians,
        found.frame,
        asked.out,
        found.render,
        batches,
        found.background,
        drawing=found.drawing,
        photos=photos,
    )
    print(json.dumps(vars(receipt), indent=1) if asked.json else receipt.said())
    return 0


def _views(asked: Export, found: Trained) -> tuple[list[Batch], bool]:
    """Views to compare in: held-out photos, or empty pictures where they cannot be read."""
    place = existing(asked.run)
    config = read_config(place.config)
    device = found.render.device
    try:
        scene = api.reread(config)
        same_views(config, scene)
    except (OSError, ValueError) as error:
        _log.warning("the photos cannot be read, so pictures are compared without them: %s", error)
        nothing = torch.zeros(1, 1, 3, dtype=torch.uint8, device=device)
        cameras = held_out(cameras_of(place.cameras))
        return [Batch(found.placed(camera), nothing) for camera in cameras], False
    options = replace(plan.fitted(config.options, device), cache=0)
    photos, test = loaders(scene, options, found.frame, device)
    with closing(photos), closing(test or photos):
        if test is not None:
            return [test.batch(i) for i in range(len(test))], True
        return [photos.batch(0)], False
