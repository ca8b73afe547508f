"""What `splat dress` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.options.verbs import Json, Overwrite, Quiet
from splat.system.numbers import hint
from splat.system.ranges import check_fields, within


@dataclass(frozen=True)
class Dress:
    """Put a garment on a body: in another pose, on another body, or taken off and alone.

    splat dress run/ -o garment.ply                      # the garment alone, as it was photographed
    splat dress run/ --pose walking.json -o walking.ply --with-body
    splat dress run/ --onto other.glb -o other.ply
    splat dress garment.ply --body person.glb --onto other.glb -o other.ply
    """

    garment: tyro.conf.Positional[Path]
    """A run of `garment`, the folder of a dream of it, or a file of Gaussians that are nothing but
    garment."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = field(kw_only=True)
    """The file of Gaussians to write."""
    body: Annotated[Path | None, hint("that of the run")] = None
    """The body that the garment was made on, where it stands in the scene (.glb)."""
    onto: Annotated[Path | None, hint("the same")] = None
    """The body that is to wear it, of the same rig (.glb); with the same triangles it fits best."""
    pose: Annotated[Path | None, hint("as the body stands")] = None
    """Turns of bones about their heads, in the axes of the armature, degrees:
    {"upperarm_l": [0, 0, 60]}. What hangs on a bone turns with it."""
    with_body: bool = False
    """Write the body, too, in one colour."""
    body_rows: Annotated[int, within(100, 1_000_000)] = 20_000
    """Gaussians of that body."""
    off: Annotated[float, within(0, 0.1)] = 0.002
    """Distance from the skin, heights of the body, to which Gaussians that are nearer or within are
    moved; 0: they stay where bones put them."""
    overwrite: Overwrite = False
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
