"""`splat erase`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from jaxtyping import Bool
from torch import Tensor
from tqdm import tqdm

from splat import formats
from splat.cleanup import erase
from splat.cli.masked import Masked, in_folder, named_cameras, scene_of
from splat.cli.opened import Opened, open_scene, run_of
from splat.core.frame import gaussians_from_frame, shrunk
from splat.math import spread
from splat.options.parse import parsed
from splat.options.verbs import DrawOn, Json, Overwrite, Quiet, check_free
from splat.system.numbers import hint
from splat.system.text import size
from splat.types import Camera, Gaussians


@dataclass(frozen=True)
class Erase:
    """Take out of a scene what a few 2-D masks mean, and fill what is then seen behind it.

    Paint white what is to go in a few photos, from several sides, and save each mask under its
    photo's name in a folder:

    splat erase run/ --masks gone/ -o clean.ply --fill
    splat erase scene.ply --cameras run/cameras.json --masks gone/ -o clean.ply
    splat erase run/ --masks statue/ --outside -o statue.ply
    """

    what: tyro.conf.Positional[Path]
    """Folder of a run, or a file of Gaussians."""
    masks: Path
    """Folder of masks called as the photos, not black where what is meant shows. Only the photos
    that have one vote; of what a mask means, all must be painted in it."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"]), hint("needed to write")] = None
    """The file to write; its ending says which format. Rows of a .ply that stay are copied to the
    byte into another .ply."""
    choice: erase.Choice = field(default_factory=erase.Choice)
    fill: bool = False
    """Put new Gaussians where the scene is then open: what several views agree on, by classical
    inpainting."""
    filling: erase.Fill = field(default_factory=erase.Fill)
    cameras: Annotated[Path | None, hint("those of the run")] = None
    """The cameras.json of a run, for a file of Gaussians."""
    views: int = 80
    """With --fill: most training views to look from, evenly spread."""
    max_side: int = 800
    """Longest side of the pictures looked at, pixels; 0: as the cameras have it."""
    dry_run: bool = False
    """Say what would be removed, and write nothing."""
    overwrite: Overwrite = False
    device: DrawOn = "auto"
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        if self.out is None and not self.dry_run:
            raise ValueError("give the file to write with -o, or --dry-run to write none")
        if self.views < 1 or self.max_side < 0:
            raise ValueError(
                f"views is {self.views} and max-side {self.max_side}; expected at least 1 and 0"
            )
        if self.fill and self.choice.outside:
            raise ValueError(
                "fill and outside are both given, and around what is kept there is nothing to fill;"
                " leave one of them out"
            )


def main(arguments: Sequence[str]) -> int:
    """Erase rows, and fill the holes; the exit code."""
    asked = parsed(Erase, "erase", arguments)
    out = None if asked.dry_run else asked.out
    if out is not None:
        formats.suffix_of(out, written=True)
        check_free(out, asked.overwrite)
    entries = named_cameras(asked.what, asked.cameras)
    masked = in_folder(asked.masks, entries, scene_of(asked.what, asked.cameras), asked.max_side)
    opened = open_scene(asked.what, asked.device, "auto")
    gone, votes = _gone(asked, opened, masked)
    filled = None
    if asked.fill:
        cameras = [camera for camera, entry in entries if entry["split"] == "train"]
        filled = _filled(asked, opened, ~gone, cameras or [camera for camera, _ in entries])
        gone = gone | (filled.buried & ~votes.unmeant)
    new = None if filled is None else filled.rows
    copied = False
    if out is not None:
        source = _source(asked.what, opened)
        copied = erase.write_left(
            source, opened.gaussians, ~gone, new, out, opened.frame, opened.drawing
        )
    record = {
        "what": str(asked.what),
        "masks": len(masked),
        "gaussians": len(gone),
        "removed": int(gone.sum()),
        "left": int((~gone).sum()),
        "filled": None
        if filled is None
        else {
            "gaussians": 0 if new is None else len(new),
            "views": filled.holes,
            "points": filled.points,
            "agreed": filled.agreed,
        },
        "out": None if out is None else str(out),
        "copied": copied,
        "bytes": None if out is None else out.stat().st_size,
    }
    print(json.dumps(record, indent=1) if asked.json else _told(record))
    return 0


def _gone(
    asked: Erase, opened: Opened, masked: Sequence[Masked]
) -> tuple[Bool[Tensor, "n"], erase.Votes]:
    cameras = [opened.placed(one.camera) for one in masked]
    masks = [torch.from_numpy(one.mask.copy()) for one in masked]
    rows, shown = opened.gaussians, _shown(asked, "votes")
    votes = erase.vote(lambda _: rows, opened.render, cameras, masks, opened.background, shown)
    gone = erase.rows_to_erase(rows, votes, asked.choice)
    if gone.all():
        raise ValueError(
            f"all {len(gone):,} Gaussians of {asked.what} would be removed; masks must be white"
            " where what is meant shows, in the photos' own size"
        )
    if not gone.any():
        raise ValueError(
            f"no Gaussian of {asked.what} is meant by the {len(masked)} masks: the most of one that"
            f" lies in them is {float(votes.share.max()):.0%}; paint more of it, or lower"
            " --threshold"
        )
    return gone, votes


def _filled(
    asked: Erase, opened: Opened, keep: Bool[Tensor, "n"], cameras: Sequence[Camera]
) -> erase.Filled:
    some = [cameras[i] for i in spread(len(cameras), asked.views)]
    standing = [opened.placed(shrunk(camera, 1, asked.max_side or None)) for camera in some]
    return erase.filled_holes(
        opened.gaussians, keep, standing, opened.render, opened.background, asked.filling,
        _shown(asked, "holes"),
    )  # fmt: skip


def _shown(asked: Erase, label: str) -> Any:
    def bar(views: Iterable[int]) -> Iterable[int]:
        return tqdm(views, label, unit="view", disable=asked.quiet or None)  # type: ignore[no-any-return]

    return bar


def _source(source: Path, opened: Opened) -> Path | None:
    """The file whose rows are those of `opened`, if there is one."""
    if source.is_file() and source.suffix != ".pt":
        return source
    if source.is_file():
        return None
    path = run_of(source).gaussians
    if not path.is_file():
        return None
    written: Gaussians = formats.read(path)
    rows = gaussians_from_frame(opened.gaussians.to("cpu"), opened.frame)
    return path if torch.equal(written.means, rows.means) else None


def _told(record: dict[str, Any]) -> str:
    """The record as text."""
    lines = [
        f"{record['masks']} masks mean {record['removed']:,} of {record['gaussians']:,} Gaussians"
    ]
    filled = record["filled"]
    if filled is not None:
        lines.append(
            f"{filled['gaussians']:,} new ones fill the holes of {filled['views']} views"
            f" ({filled['agreed']:,} of {filled['points']:,} points were agreed on)"
        )
    if record["out"] is None:
        return "\n".join([*lines, "nothing was written (--dry-run)"])
    count = record["left"] + (filled["gaussians"] if filled else 0)
    how = ", those that stay to the byte" if record["copied"] else ""
    end = f"{record['out']}: {count:,} Gaussians{how}, {size(record['bytes'])}"
    return "\n".join([*lines, end])
