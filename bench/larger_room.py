"""The built-in still life in a larger room, from cameras that are pushed out as far as one likes.

    python bench/larger_room.py runs/room --seeds 0 1 --least 30

In its own room a camera that is pushed out by half stands beyond the wall. Here the wall is
farther away, all else the same: pictures and points are drawn into OUT/scene, each seed trains it
as the built-in scene, and its `point_cloud.ply`, drawn from a depth of 0.01 on, is held against
what the world looks like from there. Prints a table, PSNR in dB, mean and least of eight cameras
for each share of their distance to what all look at: of all Gaussians, as figures are, and *as
shown*, without those whose centre lies far beside the picture, as `splat view` and viewers on web
pages draw. With `--least`, the exit code says whether the last share's means of all reach so many
dB.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import fmean

from common import markdown, output_of

from splat import formats
from splat.cli.opened import cameras_of, held_out
from splat.core.frame import INPUT_FRAME, focus_point
from splat.datasets import demo
from splat.datasets.demo import shapes
from splat.evaluation.evaluate import psnr
from splat.evaluation.off_path import PLACES, moved
from splat.export.receipt import draw
from splat.math import spread
from splat.render import drawing_as
from splat.types import Camera

SAMPLES = 2
"""Rays along a side through a pixel with contrast, where truth is drawn."""


def looked(run: Path, share: float) -> list[Camera]:
    """The held-out cameras of a run (share 1), or some of all of its cameras at a share of their
    distance."""
    known = cameras_of(run / "cameras.json")
    if share == 1:
        return held_out(known)
    cameras = [camera for camera, _ in known]
    focus = focus_point(cameras)
    return [moved(cameras[i], focus, share) for i in spread(len(cameras), PLACES)]


def values(run: Path, share: float) -> list[list[float]]:
    """PSNR of each view against the world, dB: of all Gaussians, and as shown."""
    path = run / "point_cloud.ply"
    gaussians, how = formats.read(path), formats.drawing(path)
    cameras = looked(run, share)
    known = [demo.render(camera, SAMPLES).image.float() / 255 for camera in cameras]
    renderers = [drawing_as(how.plain, INPUT_FRAME, "cpu", beside=each) for each in (True, False)]
    return [
        [
            psnr(draw(gaussians, camera, render, None), seen)
            for camera, seen in zip(cameras, known, strict=True)
        ]
        for render in renderers
    ]


def main() -> int:
    """Print a table; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--radius", type=float, default=8.0, help="of the room; its own is 5.2")
    parser.add_argument("--shares", nargs="+", type=float, default=[0.6, 1.0, 1.2, 1.5])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--least", type=float, default=0.0, help="dB")
    asked = parser.parse_args()
    shapes.ROOM_RADIUS = asked.radius
    scene = asked.out / "scene"
    if not scene.is_dir():
        demo.write(scene)
    rows, reached = [], True
    for seed in asked.seeds:
        run = asked.out / f"seed{seed}"
        command = [sys.executable, "-m", "splat", "train", str(scene), "--out", str(run)]
        options = ["--steps", str(asked.steps), "--seed", str(seed), "--overwrite", "--quiet"]
        output_of([*command, *options, "mrnf", "--cap", "30000", "+", "renew"])
        found = [values(run, share) for share in asked.shares]
        for how, each in zip(("all", "as shown"), zip(*found, strict=True), strict=True):
            rows.append([str(seed), how, *(f"{fmean(v):.2f} ({min(v):.1f})" for v in each)])
        reached &= fmean(found[-1][0]) >= asked.least
    print(markdown(["seed", "drawn", *(f"at {share:g}" for share in asked.shares)], rows))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
