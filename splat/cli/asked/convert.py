"""What `splat convert` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.cli.asked.instants import check_instants
from splat.cli.asked.levels import check_level_steps
from splat.formats.settings import Settings
from splat.options.verbs import DrawOn, Json, Overwrite, Quiet
from splat.system.numbers import hint
from splat.system.ranges import at_least, check_fields, within


@dataclass(frozen=True)
class Convert:
    """Write the Gaussians of a file in another format.

    splat convert scene.spz scene.ply
    What the new file does not hold is said; with --cameras both are drawn and compared.
    """

    source: tyro.conf.Positional[Path]
    """The file to read: .ply, .compressed.ply, .spz, .sog, .tsog, .glb, .splat, .ksplat, .html,
    .usd, or lod-meta.json or tileset.json with their files beside it."""
    target: Annotated[tyro.conf.Positional[Path | None], hint("--out")] = None
    """The file to write; its ending says which format."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"]), hint("the second name")] = None
    """The same, as other verbs have it."""
    sh_degree: Annotated[int | None, within(0, 3, default="as they are")] = None
    """Bands of harmonics to write, 0 to 3. The others are cut off, or with --cameras taken over by
    those that stay."""
    time: Annotated[
        float | None, within(0, 1, default="all of the clip", note="a part of the clip")
    ] = None
    """Of Gaussians that move: the instant to write, 0 to 1 of the clip."""
    instants: Annotated[int | None, at_least(2, default="one file", note="for one give --time")] = (
        None
    )
    """Of Gaussians that move: so many files, one an instant, numbered."""
    cameras: Annotated[Path | None, hint("none")] = None
    """The cameras.json of a run: harmonics are rounded for what these see, and both files are drawn
    from them."""
    level_steps: Annotated[
        int | None, at_least(0, default="1500 with --cameras, above 2M Gaussians 0")
    ] = None
    """Of lod-meta.json and tileset.json: steps in which every coarser level is trained to draw what
    the finest one does from these cameras; 0: levels are merged only."""
    settings: Settings = field(default_factory=Settings)
    overwrite: Overwrite = False
    device: DrawOn = "auto"
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
        check_instants(self.time, self.instants)
        check_level_steps(self.level_steps, self.file)
        if self.level_steps and self.cameras is None:
            raise ValueError(
                f"level-steps is {self.level_steps}, and there are no cameras to train levels from;"
                " give --cameras RUN/cameras.json, or leave it out"
            )

    @property
    def file(self) -> Path:
        """The file to write."""
        if (self.target is None) == (self.out is None):
            many = "no file" if self.out is None else "two files"
            raise ValueError(f"{many} to write given; expected one, behind {self.source} or -o")
        file = self.out if self.target is None else self.target
        assert file is not None
        return file
