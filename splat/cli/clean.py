"""`splat clean`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from tqdm import tqdm

from splat import api, formats
from splat.cleanup.choices import Box, Limits
from splat.cleanup.debris import debris, unseen
from splat.cleanup.floaters import floaters
from splat.cli.asked.clean import Clean
from splat.cli.opened import Opened, open_scene, views_of
from splat.evaluation.evaluate import mean_psnr
from splat.formats.limits import broken_counts
from splat.math import spread
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.planning import predict
from splat.rules.views import even_views
from splat.runs.folder import existing, read_config, same_views
from splat.system.text import size
from splat.training.prepare import loaders
from splat.types import Batch, Frame, Gaussians

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Clean a set; the exit code."""
    asked = parsed(Clean, "clean", arguments)
    out = None if asked.dry_run else asked.out
    if out is not None:
        formats.suffix_of(out, written=True)
        check_free(out, asked.overwrite)
    if not asked.file.exists():
        raise FileNotFoundError(
            f"{asked.file} is not a file; give a file of Gaussians, or the folder of a run"
        )
    with broken_counts() as broken:
        opened = open_scene(asked.file, asked.device, "auto")
    with _photos(asked, opened) as photos:
        masks = _masks(asked, opened, photos)
        gone = torch.stack(list(masks.values())).any(0)
        psnr = {} if not photos or gone.all() else _psnr(opened, photos, gone)
    if gone.all():
        raise ValueError(
            f"all {len(gone):,} Gaussians of {asked.file} would be removed; loosen the limits:"
            f" {_counted(masks)}"
        )
    if out is not None:
        formats.write(opened.gaussians.take(~gone), out, opened.frame, opened.drawing)
    record = _record(asked.file, out, masks, gone, sum(broken)) | psnr
    print(json.dumps(record, indent=1) if asked.json else _told(record))
    return 0


@contextmanager
def _photos(asked: Clean, opened: Opened) -> Iterator[list[Batch]]:
    """Photos that a run was trained on, as many as asked for; none of a file, or if unreadable."""
    if asked.file.is_file() or asked.cameras is not None or not asked.views:
        yield []
        return
    config = read_config(existing(asked.file).config)
    try:
        scene = api.reread(config, placed=existing(asked.file).cameras)
        same_views(config, scene)
    except (OSError, ValueError) as error:
        _log.warning("the photos cannot be read, so only what is surely alone floats: %s", error)
        yield []
        return
    device = opened.render.device
    photos, held_out = loaders(
        scene, predict.with_device_defaults(config.options, device), opened.frame, device
    )
    with closing(photos), closing(held_out or photos):
        yield [photos.batch(i) for i in even_views(photos.cameras, asked.views)]


def _masks(asked: Clean, opened: Opened, photos: list[Batch]) -> dict[str, torch.Tensor]:
    masks = debris(opened.gaussians, _framed(asked.limits, opened.frame))
    if asked.file.is_file() and asked.cameras is None:
        return masks
    cameras = [opened.placed(camera) for camera in views_of(asked.file, asked.cameras)]
    if asked.views:
        # Broken rows would spoil what is seen of the others.
        whole = (~masks["broken"]).nonzero().squeeze(1)
        some = [cameras[i] for i in spread(len(cameras), asked.views)]
        verdict = floaters(
            opened.gaussians.take(whole), opened.render, photos or some, opened.background
        )
        for reason, rows in (("near", verdict.near), ("free space", verdict.free)):
            mask = torch.zeros_like(masks["broken"])
            masks[reason] = mask.index_put_((whole,), rows)
    seen = tqdm(cameras, unit="view", disable=asked.quiet or None)
    masks["unseen"] = unseen(opened.gaussians, seen, opened.render)
    return masks


def _framed(limits: Limits, frame: Frame) -> Limits:
    """The limits with their box converted from the frame of the input to `frame`."""
    if limits.box is None:
        return limits
    x, y, z = frame.centre
    moved = (frame.scale * (a - b) for a, b in zip(limits.box, (x, y, z) * 2, strict=True))
    return replace(limits, box=cast(Box, tuple(moved)))


def _psnr(opened: Opened, photos: list[Batch], gone: torch.Tensor) -> dict[str, Any]:
    """PSNR on photos that were trained on, before and after, dB."""

    def psnr(rows: Gaussians) -> float:
        return mean_psnr(lambda camera: rows, opened.render, photos, opened.background)

    before, after = psnr(opened.gaussians), psnr(opened.gaussians.take(~gone))
    return {"psnr": {"before": before, "after": after, "views": len(photos)}}


def _counted(masks: dict[str, torch.Tensor]) -> str:
    return ", ".join(f"{reason} {int(mask.sum()):,}" for reason, mask in masks.items())


def _record(
    file: Path, out: Path | None, masks: dict[str, torch.Tensor], gone: torch.Tensor, broken: int
) -> dict[str, Any]:
    """The result as JSON can hold it; `broken` rows were left out when the file was read."""
    counts = {reason: int(mask.sum()) for reason, mask in masks.items()}
    counts["broken"] += broken
    removed = int(gone.sum()) + broken
    return {
        "file": str(file),
        "gaussians": len(gone) + broken,
        "reasons": counts,
        "removed": removed,
        "left": len(gone) + broken - removed,
        "out": None if out is None else str(out),
        "bytes": None if out is None else out.stat().st_size,
    }


def _told(record: dict[str, Any]) -> str:
    """The record as a table, and what was written."""
    lines = [("reason", "rows", "share")]
    n = record["gaussians"]
    counts = {**record["reasons"], "removed": record["removed"], "left": record["left"]}
    lines += [(name, f"{count:,}", f"{count / n:.2%}") for name, count in counts.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in lines]
    if psnr := record.get("psnr"):
        table.append(
            f"PSNR on {psnr['views']} views that were trained on: {psnr['before']:.2f} ->"
            f" {psnr['after']:.2f} dB"
        )
    end = "nothing was written (--dry-run)"
    if record["out"] is not None:
        end = f"{record['out']}: {record['left']:,} Gaussians, {size(record['bytes'])}"
    return "\n".join([*table, end])
