"""What `splat mesh` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from splat.cleanup.choices import Box
from splat.options.verbs import DrawOn, Json, Overwrite, Quiet
from splat.system.numbers import hint
from splat.system.ranges import at_least, check_box, check_fields, within


@dataclass(frozen=True)
class Mesh:
    """Write the surface of a run, or of a file of Gaussians, as a coloured mesh of triangles.

    splat mesh run/ -o scene.ply
    splat mesh run/ -o scene.glb --resolution 400 --box -1 -1 0 1 1 1.5
    splat mesh scene.spz -o scene.obj --cameras run/cameras.json
    """

    what: tyro.conf.Positional[Path]
    """Folder of a run, or a file of Gaussians."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The file; its ending says which format: .ply, .glb or .obj."""
    by: Literal["auto", "sdf", "depth"] = "auto"
    """sdf: where a signed distance is zero that was trained beside the Gaussians; depth: fused from
    the depth that the Gaussians show to the cameras. auto: sdf where the run has one."""
    refine: Annotated[int, at_least(0)] = 0
    """Of sdf: steps for which the distance first goes on learning, with finer splines, from the
    depth and the normals that the finished Gaussians show, and the photos' outlines (GS-ROR²'s
    second stage); 400 are some."""
    resolution: Annotated[int, at_least(8)] = 256
    """Cells along the longest side of the box."""
    box: Annotated[
        Box | None,
        tyro.conf.arg(metavar="X Y Z X Y Z"),
        hint("what the cameras look at; of sdf, where it is known"),
    ] = None
    """The part of space to make a mesh of, in the frame of the photos' cameras: x y z of its low
    corner, then of its high one."""
    truncation: Annotated[float, at_least(1)] = 4.0
    """Of depth: cells before and behind a surface in which a view tells of its distance."""
    keep_share: Annotated[float, within(0, 1)] = 0.02
    """Parts of the mesh of less than this share of the area of the largest one are left out."""
    masks: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|auto"), hint("none")] = None
    """Leave out what masks of the object disprove: masks of a folder, called as the photos and
    white where the object is; auto: those of the scene, or the photos' alpha channels. They open
    holes that fusion closed."""
    hull: bool = False
    """Of masks: also what other faces hide. For masks that show the whole object, even where
    something stands before it."""
    faces: Annotated[int | None, at_least(4, default="all")] = None
    """Triangles that the mesh may have, such as 100k."""
    cameras: Annotated[Path | None, hint("those of the run")] = None
    """The cameras.json of a run, to look at a file of Gaussians from."""
    views: Annotated[int, at_least(1)] = 120
    """Most cameras to look from, evenly spread over those there are."""
    max_side: Annotated[int, at_least(0)] = 800
    """Longest side of the pictures looked at, pixels; 0: as the cameras have it."""
    device: DrawOn = "auto"
    overwrite: Overwrite = False
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
        check_box(self.box)
