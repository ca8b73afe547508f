"""`splat clean`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from tqdm import tqdm

from splat import export
from splat.clean import Limits, debris, unseen
from splat.cli.parse import parsed
from splat.cli.trained import Trained, trained, views_of
from splat.export import rows
from splat.options import hint
from splat.plan import size


@dataclass(frozen=True)
class Clean:
    """Take debris out of a file of Gaussians, and write what is left.

    What is removed by default is hardly ever wanted. Every limit may be changed, and 0 switches a
    reason off: splat clean scene.ply -o clean.ply --floaters 100 --needles 0
    """

    file: tyro.conf.Positional[Path]
    """The file to read."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"]), hint("needed to write")] = None
    """The file to write; its ending says which format."""
    limits: Limits = field(default_factory=Limits)
    cameras: Annotated[Path | None, hint("none")] = None
    """The cameras.json of a run: Gaussians that are drawn in none of them are removed too."""
    dry_run: bool = False
    """Say what would be removed, and write nothing."""
    overwrite: bool = False
    """Replace the file that is there."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to draw for --cameras."""
    json: bool = False
    """Print the counts as JSON."""
    quiet: bool = False
    """Say nothing but warnings and the result."""

    def __post_init__(self) -> None:
        if self.out is None and not self.dry_run:
            raise ValueError("give the file to write with -o, or --dry-run to write none")


def main(arguments: Sequence[str]) -> int:
    """Clean; the exit code."""
    asked = parsed(Clean, "clean", arguments)
    out = None if asked.dry_run else asked.out
    if out is not None:
        export.suffix_of(out, written=True)
        if out.exists() and not asked.overwrite:
            raise FileExistsError(
                f"{out} exists; replace it with --overwrite, or give another name"
            )
    if not asked.file.is_file():
        raise FileNotFoundError(f"{asked.file} is not a file; give a file of Gaussians")
    with left_out() as broken:
        found = trained(asked.file, asked.device, "auto")
    masks = _masks(asked, found)
    gone = torch.stack(list(masks.values())).any(0)
    if gone.all():
        raise ValueError(
            f"all {len(gone):,} Gaussians of {asked.file} would be removed; loosen the limits:"
            f" {_counted(masks)}"
        )
    if out is not None:
        export.write(found.gaussians.take(~gone), out, found.frame, found.drawing)
    record = _record(asked.file, out, masks, gone, sum(broken))
    print(json.dumps(record, indent=1) if asked.json else _told(record))
    return 0


@contextmanager
def left_out() -> Iterator[list[int]]:
    """Numbers of broken rows that files are read without, which readers only warn of."""
    found: list[int] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.funcName == rows.warn_left_out.__name__ and isinstance(record.args, tuple):
                found.append(int(str(record.args[1])))

    ear, logger = Ear(), logging.getLogger(rows.__name__)
    logger.addHandler(ear)
    try:
        yield found
    finally:
        logger.removeHandler(ear)


def _masks(asked: Clean, found: Trained) -> dict[str, torch.Tensor]:
    masks = debris(found.gaussians, asked.limits)
    if asked.cameras is not None:
        cameras = [found.placed(camera) for camera in views_of(asked.file, asked.cameras)]
        seen = tqdm(cameras, unit="view", disable=asked.quiet or None)
        masks["unseen"] = unseen(found.gaussians, seen, found.render)
    return masks


def _counted(masks: dict[str, torch.Tensor]) -> str:
    return ", ".join(f"{reason} {int(mask.sum()):,}" for reason, mask in masks.items())


def _record(
    file: Path, out: Path | None, masks: dict[str, torch.Tensor], gone: torch.Tensor, broken: int
) -> dict[str, Any]:
    """What was found and done; `broken` rows were left out when the file was read."""
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
    """A record for people: a table, and what became of it."""
    lines = [("reason", "rows", "share")]
    n = record["gaussians"]
    counts = {**record["reasons"], "removed": record["removed"], "left": record["left"]}
    lines += [(name, f"{count:,}", f"{count / n:.2%}") for name, count in counts.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in lines]
    end = "nothing was written (--dry-run)"
    if record["out"] is not None:
        end = f"{record['out']}: {record['left']:,} Gaussians, {size(record['bytes'])}"
    return "\n".join([*table, end])
