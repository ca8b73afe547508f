"""`splat erase`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor
from tqdm import tqdm

from splat import formats
from splat.cleanup import erase
from splat.cli.asked.erase import Erase
from splat.cli.masked import Masked, in_folder, named_cameras, scene_of
from splat.cli.opened import Opened, open_scene, run_of
from splat.core.frame import gaussians_from_frame
from splat.math import spread
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.scene import shrunk
from splat.system.text import size
from splat.types import Camera, Gaussians


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
