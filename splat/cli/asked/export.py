"""What `splat export` is asked for."""

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
class Export:
    """Write the Gaussians of a run to a file, in the frame of the scene.

    The file is read back and drawn in the held-out views: what it lost is printed.
    splat export run/ -o scene.spz
    splat export run/ -o scene.spz --target-size 8MB
    splat export run/ -o scene --formats .spz .compressed.ply
    splat export run/ -o scene --formats .spz .sog --max-loss 0.2dB
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run; its last checkpoint is taken."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The file; its ending says which format: .ply, .compressed.ply, .spz, .sog, .tsog, .glb,
    .spz.glb, .splat, .usdc and the other endings of USD, or .html, a page that shows it;
    lod-meta.json or tileset.json (3D Tiles) for levels of detail that are streamed, their files
    beside it; .anchors for runs of scaffold, .forest of forest-inspired, and .clip of + deform,
    which splat alone reads."""
    target_size: Annotated[str | None, hint("any")] = None
    """Bytes that the file may take, such as 8MB: Gaussians, harmonics and their precision are
    reduced until it does, in the way that loses least."""
    max_loss: Annotated[str | None, hint("any")] = None
    """dB that the pictures may lose, such as 0.2dB: the smallest file is made that loses no more,
    or with --target-size none is written that does. With --refine it is the loss after that
    training, on held-out photos."""
    formats: Annotated[tuple[str, ...], hint("that of the file's name")] = ()
    """Formats to write, such as .spz .sog, or with --target-size or --max-loss to choose one of;
    their endings are added to the file's name."""
    keep: Annotated[float | None, within(0, 1, low_open=True, default="all")] = None
    """Share of the Gaussians to write: those that matter most to the pictures."""
    sh_degree: Annotated[int | None, within(0, 3, default="as trained")] = None
    """Bands of harmonics to write, 0 to 3; what stays takes over what the others drew."""
    refine: Annotated[int, at_least(0)] = 0
    """Steps of training after what is left out is gone, drawn as the file will be: it costs some
    seconds a hundred and gains back much of what was lost. It needs the photos."""
    level_steps: Annotated[int | None, at_least(0, default="1500, above 2M Gaussians 0")] = None
    """Of lod-meta.json and tileset.json: steps in which every coarser level is trained to draw what
    the finest one does from the cameras of training; 0: levels are merged only, which is quicker
    and far from as good close up. No photo is needed."""
    time: Annotated[
        float | None, within(0, 1, default="all of the clip", note="a part of the clip")
    ] = None
    """Of a scene that moves: the instant to write, 0 to 1 of the clip. Only .ply has a place for
    motion (the FTGS layout)."""
    instants: Annotated[int | None, at_least(2, default="one file", note="for one give --time")] = (
        None
    )
    """Of a scene that moves: so many files, one an instant, evenly from the first to the last; they
    are numbered, as viewers that play sequences expect: frame_0000.ply, frame_0001.ply ..."""
    exposure_of: Annotated[str | None, hint("the mean of all photos")] = None
    """Of a run that learned exposures: the training photo whose exposure the colours are to have,
    by its name."""
    plot: Annotated[Path | None, hint("none")] = None
    """A PNG of the files tried: what they weigh against what they lose."""
    plain: bool = False
    """Of .anchors, .forest and .clip: every number as it is, not coded."""
    settings: Settings = field(default_factory=Settings)
    overwrite: Overwrite = False
    device: DrawOn = "auto"
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
        check_level_steps(self.level_steps, self.out)
        check_instants(self.time, self.instants)
        if self.instants and (self.target or self.refine or self.formats):
            raise ValueError(
                f"instants is {self.instants}, and each file is of one; leave --target-size,"
                " --max-loss, --refine and --formats out"
            )
        if self.target and (self.keep is not None or self.sh_degree is not None):
            raise ValueError(
                "--target-size and --max-loss choose how many Gaussians and bands are kept; leave"
                " --keep and --sh-degree out, or them"
            )

    @property
    def target(self) -> bool:
        """Whether a file is to be chosen."""
        return self.target_size is not None or self.max_loss is not None
