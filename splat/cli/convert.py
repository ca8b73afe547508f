"""`splat convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from splat import formats
from splat.cli.opened import (
    LOOKED_AT,
    Opened,
    check_level_steps,
    file_search,
    level_training,
    open_scene,
    views_of,
)
from splat.export.receipt import export
from splat.export.search import Variant
from splat.formats.settings import Settings
from splat.math import spread
from splat.options.parse import parsed
from splat.options.verbs import DrawOn, Json, Overwrite, Quiet, check_free
from splat.system.numbers import hint
from splat.types import Batch, Gaussians


@dataclass(frozen=True)
class Convert:
    """Write the Gaussians of a file in another format.

    splat convert scene.spz scene.ply
    What the new file does not hold is said; with --cameras both are drawn and compared.
    """

    source: tyro.conf.Positional[Path]
    """The file to read: .ply, .compressed.ply, .spz, .sog, .glb, .splat, .ksplat, .html, or
    lod-meta.json with its chunks beside it."""
    target: tyro.conf.Positional[Path]
    """The file to write; its ending says which format."""
    sh_degree: Annotated[int | None, hint("as they are")] = None
    """Bands of harmonics to write, 0 to 3. The others are cut off, or with --cameras taken over by
    those that stay."""
    cameras: Annotated[Path | None, hint("none")] = None
    """The cameras.json of a run: harmonics are rounded for what these see, and both files are drawn
    from them."""
    level_steps: Annotated[int | None, hint("1000 with --cameras, above 2M Gaussians 0")] = None
    """Of lod-meta.json: steps in which every coarser level is trained to draw what the finest one
    does from these cameras; 0: levels are merged only."""
    settings: Settings = field(default_factory=Settings)
    overwrite: Overwrite = False
    device: DrawOn = "auto"
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_level_steps(self.level_steps, self.target)
        if self.level_steps and self.cameras is None:
            raise ValueError(
                f"level-steps is {self.level_steps}, and there are no cameras to train levels from;"
                " give --cameras RUN/cameras.json, or leave it out"
            )
        if self.sh_degree is not None and self.sh_degree not in range(4):
            raise ValueError(f"sh-degree is {self.sh_degree}; expected 0, 1, 2 or 3")


def main(arguments: Sequence[str]) -> int:
    """Convert a file; the exit code."""
    asked = parsed(Convert, "convert", arguments)
    formats.suffix_of(asked.target, written=True)
    check_free(asked.target, asked.overwrite)
    if not asked.source.is_file():
        raise FileNotFoundError(
            f"{asked.source} is not a file; give a file of Gaussians, or export a run with"
            " `splat export`"
        )
    opened = open_scene(asked.source, asked.device, "auto", asked.settings)
    nothing = torch.zeros(1, 1, 3, dtype=torch.uint8)
    cameras = [] if asked.cameras is None else views_of(asked.source, asked.cameras)
    batches = [Batch(opened.placed(camera), nothing) for camera in cameras]
    settings = asked.settings.for_views() if cameras else asked.settings
    gaussians, dropped = _fitted(asked, opened, batches, settings)
    receipt = export(
        gaussians,
        opened.frame,
        asked.target,
        opened.render,
        [batches[i] for i in spread(len(batches), LOOKED_AT)],
        opened.background,
        drawing=opened.drawing,
        settings=settings,
        photos=False,
        whole=opened.seen_by,
        dropped=(*opened.left_out, *dropped),
        cameras=cameras,
        refine=level_training(asked.level_steps, asked.target, len(gaussians), cameras, opened),
    )
    print(json.dumps(asdict(receipt), indent=1) if asked.json else receipt.text())
    return 0


def _fitted(
    asked: Convert, opened: Opened, batches: Sequence[Batch], settings: Settings
) -> tuple[Gaussians, tuple[str, ...]]:
    """The Gaussians to write, with the bands asked for and harmonics fitted to the views, and what
    was dropped."""
    gaussians = opened.gaussians
    whole, suffix = gaussians.sh_degree or 0, formats.suffix_of(asked.target)
    degree = min(whole if asked.sh_degree is None else asked.sh_degree, formats.most_degree(suffix))
    if batches:
        search = file_search(opened, batches, photos=False)
        gaussians = search.final(Variant(suffix, settings, degree), len(gaussians))
        how = "those that stay took over what they drew"
    else:
        gaussians = replace(gaussians, sh_degree=min(degree, whole))
        how = "cut off"
    return gaussians, (f"harmonics beyond degree {degree}, {how}",) if degree < whole else ()
