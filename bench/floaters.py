"""Floaters that were planted, and what is found of them: in the built-in scene and in a run.

Of each number of planted blobs: recall by rows and by blending weight, rows of the scene itself
that were taken for floaters, and PSNR on held-out photos planted, cleaned and as it was.

    python bench/floaters.py [--counts 50 200] [--views 24] [--run run/]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from common import markdown
from torch import Tensor

from splat import api
from splat.cleanup.floaters import Rules, floaters
from splat.cli.opened import open_scene
from splat.core.frame import camera_to_frame
from splat.datasets import demo, load
from splat.evaluation.evaluate import mean_psnr
from splat.math import sh_from_rgb, spread
from splat.planning import predict
from splat.render import renderer_for
from splat.runs.folder import existing, read_config
from splat.training.prepare import loaders
from splat.types import Batch, Camera, Frame, Gaussians, Needs, Renderer

HEADS = (
    *("scene", "asked", "planted", "recall", "of weight", "own rows lost", "score"),
    *("PSNR planted", "cleaned", "as it was", "seconds"),
)
BEFORE_CAMERAS = 0.25
"""Share of the blobs right before a camera."""
STRIDE = 4
"""Pixels between the discs that stand for the built-in scene."""
NAMES = ("means", "quats", "scales", "opacities", "colors")


@dataclass(frozen=True)
class Known:
    """A set of Gaussians that is clean, how it is drawn, and what photos and depths say of it."""

    name: str
    gaussians: Gaussians
    render: Renderer
    background: Tensor | None
    photos: Sequence[Batch]
    depths: Sequence[Tensor]
    test: Sequence[Batch]

    def psnr(self, gaussians: Gaussians) -> float:
        return mean_psnr(lambda camera: gaussians, self.render, self.test, self.background)


def lifted(camera: Camera, row: Tensor, column: Tensor, depth: Tensor) -> Tensor:
    """Where pixels lie in the world at these depths."""
    K, pose = camera.K, camera.world_to_camera
    x, y = (column + 0.5 - K[0, 2]) / K[0, 0], (row + 0.5 - K[1, 2]) / K[1, 1]
    local = torch.stack([x * depth, y * depth, depth], 1).float()
    return (local - pose[:3, 3]) @ pose[:3, :3]


def joined(*sets: Gaussians) -> Gaussians:
    """Plain sets as one."""
    columns: dict[str, Any] = {n: torch.cat([getattr(each, n) for each in sets]) for n in NAMES}
    return Gaussians(**columns)


def discs(camera: Camera, truth: demo.DemoView, stride: int) -> Gaussians:
    """A disc on the true surface at every `stride`-th pixel of a picture, of its colour."""
    axes = (torch.arange(stride // 2, side, stride) for side in truth.depth.shape)
    row, column = (each.reshape(-1) for each in torch.meshgrid(*axes, indexing="ij"))
    depth, normal = truth.depth[row, column], truth.normals[row, column]
    turn = torch.stack([1 + normal[:, 2], -normal[:, 1], normal[:, 0], 0 * depth], 1)
    turn[turn.norm(dim=1) < 1e-3] = torch.tensor([0.0, 1, 0, 0])
    size = (0.7 * stride * depth / camera.K[0, 0])[:, None]
    return Gaussians(
        means=lifted(camera, row, column, depth),
        quats=turn.float(),
        scales=(size * torch.tensor([1.0, 1.0, 0.05])).float(),
        opacities=torch.full_like(depth, 0.9),
        colors=truth.image[row, column].float() / 255,
    )


def built_in(views: int) -> Known:
    """The built-in scene: discs on its true surface."""
    folder = demo.cached()
    scene, frame = load(folder), Frame((0.0, 0.0, 0.0), 1.0)
    sets, photos, depths = [], [], []
    for i in spread(len(scene.train), views):
        view = scene.train[i]
        known, camera = demo.truth(folder, view.name), camera_to_frame(view.camera, frame)
        sets.append(discs(camera, known, STRIDE))
        photos.append(Batch(camera, known.image, name=view.name))
        depths.append(known.depth)
    test = [
        Batch(camera_to_frame(view.camera, frame), demo.truth(folder, view.name).image)
        for view in scene.test
    ]
    return Known(
        "built-in, true surface", joined(*sets), renderer_for("cpu"), None, photos, depths, test
    )


def of_run(run: Path, views: int) -> Known:
    """A run that was trained; its depths are its own."""
    found, config = open_scene(run, "cpu", "auto"), read_config(existing(run).config)
    options = predict.with_device_defaults(config.options, torch.device("cpu"))
    training, held_out = loaders(api.reread(config), options, found.frame, torch.device("cpu"))
    with closing(training), closing(held_out or training):
        photos = [training.batch(i) for i in spread(len(training), views)]
        other = held_out or training
        test = [other.batch(i) for i in range(len(other))]
    depths = []
    for photo in photos:
        drawn = found.render(found.gaussians, photo.camera, Needs(depth=True))
        assert drawn.depth is not None
        depths.append(drawn.depth)
    own = found.gaussians
    return Known(run.name, own, found.render, found.background, photos, depths, test)


def haunted(known: Known, count: int, seed: int) -> Gaussians:
    """The set with so many blobs of any size, colour and opacity before its surface."""
    draw = torch.Generator().manual_seed(seed)
    which = torch.randint(len(known.photos), (count,), generator=draw).tolist()
    u = torch.rand(count, 4, generator=draw)
    means, sizes = [], []
    for i, view in enumerate(which):
        surface = known.depths[view]
        row, column = (u[i, :2] * torch.tensor(surface.shape)).long()
        before = i < BEFORE_CAMERAS * count
        share = 0.06 + 0.1 * u[i, 2] if before else 0.2 + 0.6 * u[i, 2]
        depth = share * surface[row, column]
        camera = known.photos[view].camera
        means.append(lifted(camera, row[None], column[None], depth[None]))
        sizes.append(depth * (0.01 + 0.05 * u[i, 3]))
    own = known.gaussians
    colors = torch.rand(count, 3, generator=draw)
    if own.sh_degree is not None:
        harmonics = torch.zeros(count, own.colors.shape[1], 3)
        harmonics[:, 0] = sh_from_rgb(colors)
        colors = harmonics
    blobs = (
        torch.cat(means),
        torch.randn(count, 4, generator=draw),
        torch.stack(sizes)[:, None] * (0.4 + torch.rand(count, 3, generator=draw)),
        0.1 + 0.85 * torch.rand(count, generator=draw),
        colors,
    )
    rows: dict[str, Any] = {
        n: torch.cat([getattr(own, n), new]) for n, new in zip(NAMES, blobs, strict=True)
    }
    return replace(own, **rows)


def row_of(known: Known, asked: str, count: int) -> list[str]:
    """A line of the table."""
    n, clean = len(known.gaussians), known.psnr(known.gaussians)
    rows = haunted(known, count, seed=count) if count else known.gaussians
    cameras = [photo.camera for photo in known.photos]
    views = known.photos if asked == "photos" else cameras
    start = time.perf_counter()
    found = floaters(rows, known.render, views, known.background, Rules())
    seconds = time.perf_counter() - start
    gone, mass = found.rows, found.mass
    recall = "" if not count else f"{float(gone[n:].double().mean()):.3f}"
    weight = "" if not count else f"{float(mass[n:][gone[n:]].sum() / mass[n:].sum()):.3f}"
    lost = f"{100 * float(gone[:n].double().mean()):.2f} %"
    after = known.psnr(rows.take(~gone))
    return [
        *(known.name, asked, f"{count:,}", recall, weight, lost, f"{found.share:.2f} %"),
        *(f"{known.psnr(rows):.2f}", f"{after:.2f}", f"{clean:.2f}", f"{seconds:.1f}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[0, 50, 200])
    parser.add_argument("--views", type=int, default=24, help="that are looked at")
    parser.add_argument("--run", type=Path, nargs="*", default=[], help="folders of runs")
    asked = parser.parse_args()
    lines = []
    for run in (None, *asked.run):
        known = built_in(asked.views) if run is None else of_run(run, asked.views)
        for count in asked.counts:
            lines += [row_of(known, how, count) for how in ("photos", "cameras")]
    print(markdown(HEADS, lines))


if __name__ == "__main__":
    main()
