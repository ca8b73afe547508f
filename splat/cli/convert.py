"""`splat convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from splat import export
from splat.cli.parse import parsed
from splat.cli.trained import INPUT_FRAME, trained, views_of
from splat.export.settings import Settings
from splat.loader import spread
from splat.options import hint
from splat.receipt import exported
from splat.types import Batch

LOOKED_AT = 12
"""Most cameras from which both files are drawn."""


@dataclass(frozen=True)
class Convert:
    """Write the Gaussians of a file in another format.

    splat convert scene.spz scene.ply
    What the new file does not hold is said; with --cameras both are drawn and compared.
    """

    source: tyro.conf.Positional[Path]
    """The file to read: .ply, .compressed.ply, .spz, .sog, .glb, .splat, .ksplat or .html."""
    target: tyro.conf.Positional[Path]
    """The file to write; its ending says which format."""
    sh_degree: Annotated[int | None, hint("as they are")] = None
    """Bands of harmonics to write, 0 to 3; the others are cut off."""
    cameras: Annotated[Path | None, hint("none")] = None
    """The cameras.json of a run, to draw both files from."""
    settings: Settings = field(default_factory=Settings)
    overwrite: bool = False
    """Replace the file that is there."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to draw."""
    json: bool = False
    """Print the figures as JSON."""
    quiet: bool = False
    """Say nothing but warnings and the result."""

    def __post_init__(self) -> None:
        if self.sh_degree is not None and self.sh_degree not in range(4):
            raise ValueError(f"sh-degree is {self.sh_degree}; expected 0, 1, 2 or 3")


def main(arguments: Sequence[str]) -> int:
    """Convert; the exit code."""
    asked = parsed(Convert, "convert", arguments)
    export.suffix_of(asked.target, written=True)
    if asked.target.exists() and not asked.overwrite:
        raise FileExistsError(
            f"{asked.target} exists; replace it with --overwrite, or give another name"
        )
    if not asked.source.is_file():
        raise FileNotFoundError(
            f"{asked.source} is not a file; give a file of Gaussians, or export a run with"
            " `splat export`"
        )
    found = trained(asked.source, asked.device, "auto")
    gaussians, dropped = found.gaussians, tuple[str, ...]()
    whole = gaussians.sh_degree or 0
    if asked.sh_degree is not None and asked.sh_degree < whole:
        gaussians = replace(gaussians, sh_degree=asked.sh_degree)
        dropped = (f"harmonics beyond degree {asked.sh_degree}, cut off as asked",)
    nothing = torch.zeros(1, 1, 3, dtype=torch.uint8)
    cameras = [] if asked.cameras is None else views_of(asked.source, asked.cameras)
    looked_at = [cameras[i] for i in spread(len(cameras), LOOKED_AT)]
    receipt = exported(
        gaussians,
        INPUT_FRAME,
        asked.target,
        found.render,
        [Batch(found.placed(camera), nothing) for camera in looked_at],
        found.background,
        drawing=found.drawing,
        settings=asked.settings,
        photos=False,
        whole=found.gaussians,
        dropped=dropped,
    )
    print(json.dumps(asdict(receipt), indent=1) if asked.json else receipt.said())
    return 0
