"""How coarser levels of detail draw, against the finest one: merged, and trained.

    python bench/levels.py runs/demo runs/fox --steps 0 1000 --least 35 33

Each run is exported to `lod-meta.json` by a process of its own; its levels are read back and drawn
in the cameras that were held out, from 0.01 on, in pictures of full size and smaller ones. With
`--least`, a number of dB for each run, the exit code says whether level 1 reaches it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from common import markdown, output_of

from splat import formats
from splat.cli.opened import cameras_of, held_out
from splat.core.frame import INPUT_FRAME
from splat.evaluation.evaluate import psnr
from splat.export.receipt import draw
from splat.formats import lod
from splat.render import drawing_as
from splat.types import Camera, Drawing, Gaussians

SMALLER = (1, 2, 4, 8)
"""How many times smaller pictures are, along a side."""


@dataclass(frozen=True)
class Look:
    """PSNR of a level against the finest one, dB."""

    rows: int
    means: list[float]
    """Mean over the cameras, for each of `SMALLER`."""
    worst: float
    """Least of the cameras, at full size."""


def looks(finest: Gaussians, level: Gaussians, cameras: Sequence[Camera], how: Drawing) -> Look:
    """How one level draws beside the finest one."""
    render = drawing_as(how.plain, INPUT_FRAME, "cpu")
    means, worst = [], float("inf")
    for smaller in SMALLER:
        off = []
        for camera in cameras:
            small = camera.resized(camera.width // smaller, camera.height // smaller)
            pictures = [draw(rows, small, render, None) for rows in (finest, level)]
            off.append(psnr(*pictures))
        means.append(sum(off) / len(off))
        worst = min(off) if smaller == 1 else worst
    return Look(len(level), means, worst)


def main() -> int:
    """Print a table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--steps", nargs="+", type=int, default=[0, 1000])
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--least", nargs="*", type=float, default=[])
    asked = parser.parse_args()
    if asked.least and len(asked.least) != len(asked.runs):
        raise SystemExit(
            f"{len(asked.least)} numbers for {len(asked.runs)} runs; give one for each"
        )
    rows, reached = [], True
    for number, run in enumerate(asked.runs):
        finest = formats.read(run / "point_cloud.ply")
        how = formats.drawing(run / "point_cloud.ply")
        cameras = held_out(cameras_of(run / "cameras.json"))
        for steps in asked.steps:
            with TemporaryDirectory() as folder:
                path = Path(folder) / "lod-meta.json"
                start = time.perf_counter()
                options = ["--level-steps", str(steps), "--device", "cpu", "--quiet"]
                command = [sys.executable, "-m", "splat", "export", str(run), "-o", str(path)]
                output_of([*command, *options])
                seconds = time.perf_counter() - start
                found = [
                    looks(finest, lod.read_level(path, level), cameras, how)
                    for level in range(1, asked.levels + 1)
                ]
            for level, look in enumerate(found, 1):
                sizes = [f"{value:.1f}" for value in look.means]
                count = f"{look.rows:,} of {len(finest):,}"
                ends = [f"{look.worst:.1f}", f"{seconds:.0f}"]
                rows.append([run.name, str(steps), str(level), count, *sizes, *ends])
            if asked.least and steps == max(asked.steps):
                reached &= found[0].means[0] >= asked.least[number]
    head = ["run", "steps", "level", "rows", *(f"{x}x" for x in SMALLER), "worst, 1x", "seconds"]
    print(markdown(head, rows))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
