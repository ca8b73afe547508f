"""Runs in blocks for `splat train --blocks`, `splat resume` and `splat eval`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from splat.blocks import train as blocks
from splat.cli.run_options import Resume, Train
from splat.export.receipt import Receipt
from splat.jobs import Interrupted
from splat.parallel import current_ranks
from splat.runs.folder import Folder
from splat.training.finish import summary
from splat.types import SceneData


def train_in_blocks(asked: Train, scene: SceneData, out: Path, command: str) -> int:
    """Train a scene in blocks; the exit code."""
    if not current_ranks().alone:
        raise ValueError(
            "blocks are asked for in a run of several processes; expected one of both: blocks are"
            " shared out with --workers or --on, leave torchrun out"
        )
    if asked.viewing.viewer:
        raise ValueError(
            "viewer is given with --blocks, which train in processes of their own; leave it out,"
            f" and look at the result with `splat view {out}`"
        )
    quiet = asked.watching.quiet or asked.json
    return _reported(
        lambda: blocks.train(
            scene,
            asked.method,
            asked.training,
            asked.blocking,
            out=out,
            reading=asked.reading,
            overwrite=asked.overwrite,
            watching=replace(asked.watching, quiet=quiet),
            command=command,
        ),
        out,
        asked.json,
    )


def resume_in_blocks(asked: Resume, scene: SceneData | None) -> int:
    """Resume a run in blocks; the exit code."""
    if asked.steps is not None:
        raise ValueError(
            f"steps is given, and {asked.run} is a run in blocks, which end where they were begun"
            " to end; leave it out, or begin another run"
        )
    return _reported(
        lambda: blocks.resume(
            asked.run,
            workers=asked.workers,
            on=asked.on,
            device=asked.device,
            renderer=asked.renderer,
            threads=asked.threads,
            quiet=asked.quiet or asked.json,
            scene=scene,
        ),
        asked.run,
        asked.json,
    )


def check_no_block(path: Path) -> None:
    """Raise ValueError where a folder is that of a single block of a run."""
    whole = Folder(path.resolve().parent.parent)
    if whole.in_blocks() and path.resolve().parent == whole.blocks.resolve():
        raise ValueError(
            f"{path}: is a block of a run; expected the run itself: `splat resume {whole.path}`"
        )


def _reported(call: Callable[[], Mapping[str, Any]], out: Path, as_json: bool) -> int:
    try:
        record = call()
    except Interrupted as stop:
        print(f"stopped; `splat resume {out}` goes on from there", file=sys.stderr)
        return 128 + stop.number
    print(json.dumps(record, indent=1) if as_json else summary_text(record, out), flush=True)
    return 0


def summary_text(record: Mapping[str, Any], out: Path) -> str:
    """The figures of a run in blocks and the paths of its files."""
    lines = [summary(record)]
    seams = record["seams"]
    if seams is not None and seams["psnr"] is not None:
        lines.append(
            f"along the seams {seams['psnr']:.2f} dB, on {seams['share']:.1%} of the pixels"
        )
    kept = ", ".join(f"{part['name']} {part['kept']:,}" for part in record["blocks"])
    lines += [f"blocks: {kept} Gaussians", Receipt(**record["export"]).text()]
    return "\n".join([*lines, f"what was merged is in {out}, the blocks in {out / 'blocks'}"])
