"""What `splat volume` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.options.verbs import Json, Overwrite, Quiet
from splat.system.numbers import hint
from splat.system.ranges import check_fields, within


@dataclass(frozen=True)
class Volume:
    """Write the Gaussians of a run or a file as a volume, one for each place of a grid, or back.

    splat volume run/ -o scene.npz             # of a run of pool its own grid
    splat volume scene.ply -o scene.npz --grid 40
    splat volume scene.npz -o scene.ply
    """

    what: tyro.conf.Positional[Path]
    """A run, a file of Gaussians, or a volume."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = field(kw_only=True)
    """The volume to write (.npz), or of a volume the file of Gaussians."""
    grid: Annotated[int | None, within(2, 128), hint("the run's own, or 32")] = None
    """Places along an edge. Each Gaussian gets one of its own, near it; others stay empty."""
    neighbours: Annotated[int, within(1, 64)] = 8
    """Places that are tried for each Gaussian. More find nearer ones, and take longer."""
    overwrite: Overwrite = False
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
