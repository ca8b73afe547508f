"""What was trained at one size, drawn at others: PSNR at a quarter to four times of it.

    python bench/sizes.py runs/plain runs/smoothed [--views 8] [--truth truth/]

Each run's `point_cloud.ply` is drawn as any program draws it, from a depth of 0.01 on with 0.3
square pixels of low-pass filter, and antialiased as those do that can (Mip-Splatting's filter on
screen), in the cameras that were held out. Truth is the photo, shrunk; beyond its size the
built-in scene is drawn, and other scenes have none. `--truth` keeps what was drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from common import markdown
from jaxtyping import Float
from torch import Tensor

from splat import api, formats
from splat.cli.opened import cameras_of
from splat.core.frame import INPUT_FRAME
from splat.datasets import demo
from splat.datasets.truth import truth_of
from splat.evaluation.evaluate import psnr
from splat.export.receipt import draw
from splat.math import spread
from splat.photos import pictures
from splat.photos.loader import Loader
from splat.render import drawing_as
from splat.runs.folder import Config, read_config
from splat.system.colours import rgb
from splat.types import Batch, Camera, Drawing, Gaussians, SceneData

SIZES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Sizes of pictures along a side, in units of what was trained on."""
SAMPLES = 3
"""Rays along a side through a pixel with contrast, where truth is drawn."""


@dataclass(frozen=True)
class Shot:
    """A held-out camera at one of the sizes, and what it would see."""

    camera: Camera
    image: Float[Tensor, "h w 3"]
    mask: Tensor | None = None


def shots(
    config: Config, scene: SceneData, trained: int, size: float, views: int, kept: Path | None
) -> Iterator[Shot]:
    """Those of one size; none where nothing is known of it.

    `trained` is the width of the first held-out view as the run had it.
    """
    factor = scene.test[0].camera.width / (size * trained)
    chosen = tuple(scene.test[i] for i in spread(len(scene.test), views))
    if factor >= 1:
        options = config.options
        loader = Loader(
            chosen,
            frame=INPUT_FRAME,
            downscale=factor,
            background=rgb(options.background),
            masks=options.mask_mode,
        )
        with closing(loader):
            for batch in map(loader.batch, range(len(chosen))):
                yield _shot(batch)
    elif truth_of(scene) is not None:
        for view in chosen:
            width, height = (round(s / factor) for s in (view.camera.width, view.camera.height))
            camera = view.camera.resized(width, height)
            yield Shot(camera, _drawn(camera, view.name, kept))


def _shot(batch: Batch) -> Shot:
    return Shot(batch.camera, batch.image, batch.mask)


def _drawn(camera: Camera, name: str, kept: Path | None) -> Float[Tensor, "h w 3"]:
    """The built-in scene, drawn or read."""
    path = None if kept is None else kept / f"{camera.width}x{camera.height}_{Path(name).stem}.png"
    if path is not None and path.is_file():
        image = torch.from_numpy(pictures.read(path)[..., ::-1].copy())
    else:
        image = demo.render(camera, SAMPLES).image
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image.numpy()[..., ::-1])
    return image.float().div_(255)


def figures(
    gaussians: Gaussians, known: Sequence[Shot], how: Drawing, background: Tensor | None
) -> list[float]:
    """PSNR of each picture, dB."""
    render = drawing_as(how, INPUT_FRAME, "cpu")
    pictures = (draw(gaussians, shot.camera, render, background) for shot in known)
    return [psnr(p, shot.image, shot.mask) for p, shot in zip(pictures, known, strict=True)]


def main() -> int:
    """Print a table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--truth", type=Path, default=None)
    asked = parser.parse_args()
    rows = []
    for run in asked.runs:
        config = read_config(run / "config.json")
        assert config.reading is not None
        scene = api.read_scene(config.scene, config.reading)
        widths = {entry["name"]: camera.width for camera, entry in cameras_of(run / "cameras.json")}
        gaussians = formats.read(run / "point_cloud.ply")
        behind = rgb(config.options.background)
        background = torch.tensor(behind) if any(behind) else None
        found: dict[bool, list[str]] = {False: [], True: []}
        for size in SIZES:
            trained = widths[scene.test[0].name]
            known = list(shots(config, scene, trained, size, asked.views, asked.truth))
            for antialiased, cells in found.items():
                values = figures(gaussians, known, Drawing(antialiased), background)
                mean = f"{sum(values) / len(values):.2f}" if values else "-"
                cells.append(mean)
        for antialiased, cells in found.items():
            drawn = "antialiased" if antialiased else "plain"
            rows.append([run.name, f"{len(gaussians):,}", drawn, *cells])
    print(markdown(["run", "Gaussians", "drawn", *(f"{size:g}x" for size in SIZES)], rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
