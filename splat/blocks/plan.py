"""The plan of a run in blocks, made before the first one trains: `blocks.json` in its folder."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.blocks.cells import AS_GIVEN, Cell, Ground, ground_of_json, members
from splat.blocks.division import cells_of, extents
from splat.blocks.visibility import view_shares, views_of_blocks
from splat.core.frame import frame_of
from splat.core.region import Region
from splat.options.blocking import BACKDROP, MARGIN
from splat.runs.folder import Folder
from splat.system.files import write_json
from splat.system.foreign import Broken, Record, reading, record, shown
from splat.types import Camera, Frame, Points, SceneData

FORMAT = "splat blocks"
VERSION = 1
STRIP = 0.05
"""Width of the strip along a border whose pixels have metrics of their own, in sides of a mean
block."""
ROOM = 1.15
"""Cap of a block, as a multiple of its share of all Gaussians: margin and backdrop are not merged,
and take more than that, so that what is merged stays a little below what was asked for."""
LEAST_SHARE = 0.05
"""Share of a picture that a block must cover for the view to be among its views."""
FEW_VIEWS = 8
"""Number of views below which a block is seen from too few sides."""


@dataclass(frozen=True)
class Part:
    """A block: its part of the scene, and what it is trained from."""

    name: str
    """Column and row of the block, such as 0-1; the name of its folder in `run/blocks`."""
    cell: Cell
    views: tuple[str, ...]
    """Names of the views that it is trained on, in the order of the scene."""
    inside: int
    """Number of cameras that stand in its cell."""
    points: int
    """Number of the scene's points in its cell."""
    cap: int
    """Most Gaussians, with margin and backdrop; 0: no limit."""
    share: int = 0
    """Most Gaussians of it that are merged; 0: no limit."""


@dataclass(frozen=True)
class BlockPlan:
    """The plan that all jobs of the blocks share, beside the settings of their run."""

    mark: str
    """Hash of the scene's cameras, names of views and points."""
    ground: Ground
    frame: Frame
    """The frame that every block is trained in: that of all cameras."""
    margin: float
    """Width of the margin around each cell, in units of the contracted ground."""
    strip: float
    """Half-width of the strip along borders that has metrics of its own, in units of the contracted
    ground."""
    backdrop: float
    """Share of a block's cap that may be points from outside."""
    parts: tuple[Part, ...]
    made_by: str
    """Version of splat that made the plan."""

    @property
    def cells(self) -> list[Cell]:
        """The cells of the blocks, in their order."""
        return [part.cell for part in self.parts]

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    def write(self, path: Path) -> None:
        record = asdict(self)
        for part in record["parts"]:
            cell = part.pop("cell")
            part |= {"low": cell["low"], "high": cell["high"]}
        write_json(path, {"format": FORMAT, "version": VERSION, **record})


def read_plan(path: Path) -> BlockPlan:
    """The plan of a run in blocks; raises ValueError where the file is none, or a newer one."""
    with reading(path, "what `splat train --blocks` wrote: begin anew"):
        plan = record(path)
        wrong = "is no plan of blocks; expected what `splat train --blocks` wrote"
        plan.check_format(FORMAT, VERSION, wrong)
        ground = ground_of_json(plan.record("ground"))
        frame = plan.record("frame")
        parts = tuple(_part(ground, entry) for entry in plan.records("parts"))
        if not parts:
            raise Broken("has no blocks; expected one or more")
        if len({part.name for part in parts}) < len(parts):
            raise Broken("has a block twice")
        return BlockPlan(
            mark=plan.text("mark"),
            ground=ground,
            frame=Frame(frame.triple("centre"), frame.number("scale", above=0)),
            margin=plan.number("margin", least=0),
            strip=plan.number("strip", least=0),
            backdrop=plan.number("backdrop", least=0),
            parts=parts,
            made_by=plan.text("made_by"),
        )


def _part(ground: Ground, entry: Record) -> Part:
    name = entry.text("name")
    if not re.fullmatch(r"\d+-\d+", name):
        raise Broken(f"has a block {shown(name)}; expected a column and a row, as 0-1")
    (a, b), (c, d) = entry.numbers("low", 2).tolist(), entry.numbers("high", 2).tolist()
    return Part(
        name=name,
        cell=Cell(ground, (a, b), (c, d)),
        views=entry.texts("views"),
        inside=entry.whole("inside"),
        points=entry.whole("points"),
        cap=entry.whole("cap"),
        share=entry.whole("share"),
    )


def folder_of(run: Folder, part: Part) -> Folder:
    """The folder of a block's run."""
    return Folder(run.blocks / part.name)


def log_of(run: Folder, part: Part) -> Path:
    """The log of a block's process, beside its folder."""
    return run.blocks / f"{part.name}.log"


def plan_blocks(
    scene: SceneData,
    points: Points,
    ground: Ground,
    shape: tuple[int, int],
    cap: int,
    *,
    mark: str,
    made_by: str,
    margin: float = MARGIN,
    backdrop: float = BACKDROP,
    wanted: Region | None = None,
) -> BlockPlan:
    """The plan of so many blocks along and across, of at most `cap` Gaussians together (0: any).

    Cells hold equally many `points`, of those that lie in what is `wanted` where that is not all.
    """
    cameras = [view.camera for view in scene.train]
    flat = ground.flat(points.positions, AS_GIVEN)
    counted = flat if wanted is None else flat[wanted.holds(points.positions, AS_GIVEN)]
    cells = cells_of(ground, counted, shape)
    if len(cells) > len(cameras):
        raise ValueError(
            f"blocks is {shape[0]}x{shape[1]} and there are {len(cameras)} views to train on;"
            " expected a view for each block at least: ask for fewer blocks"
        )
    side = math.sqrt(math.prod(extents(counted)) / len(cells))
    width = margin * side
    own = _standing(cells, cameras)
    share = view_shares(
        cameras,
        points.positions,
        members(cells, flat, width),
        lambda places: members(cells, ground.flat(places, AS_GIVEN)),
    )
    seen = views_of_blocks(share, own, LEAST_SHARE)
    held = members(cells, counted).sum(0).tolist()
    around = members(cells, counted, width).sum(0).tolist()
    parts = []
    for i, cell in enumerate(cells):
        views = tuple(scene.train[row].name for row in seen[:, i].nonzero()[:, 0].tolist())
        name = f"{i // shape[1]}-{i % shape[1]}"
        limit = cap * held[i] // sum(held)
        room = 1.0 if len(cells) == 1 else min(ROOM, around[i] / held[i] + backdrop)
        inside = int(own[:, i].sum())
        parts.append(Part(name, cell, views, inside, held[i], int(room * limit), limit))
    frame = frame_of(cameras)
    return BlockPlan(mark, ground, frame, width, STRIP * side, backdrop, tuple(parts), made_by)


def _standing(cells: Sequence[Cell], cameras: Sequence[Camera]) -> Bool[Tensor, "v b"]:
    """Which cameras stand in which cells; each stands in exactly one."""
    centres = torch.stack([camera.centre.double() for camera in cameras])
    return members(cells, cells[0].ground.flat(centres, AS_GIVEN))
