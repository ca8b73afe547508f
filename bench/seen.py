"""Held-out PSNR of what some training photo shows, beside that of whole pictures.

    python bench/seen.py runs/adc runs/mcmc --by runs/default

At the end of a path a held-out photo shows what no other does, which a run can only guess. A pixel
counts as seen where the surface that the run `--by` draws there lies in the picture of a training
photo, and is drawn as deep there within 5 % (`splat.evaluation.off_path`). Every run is drawn as
any program draws it, photos are as they are. Prints a line a run and photo.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch
from common import markdown
from jaxtyping import Bool
from torch import Tensor

from splat import api, formats
from splat.cli.opened import cameras_of
from splat.core.frame import INPUT_FRAME
from splat.evaluation.evaluate import psnr
from splat.evaluation.off_path import confirmed
from splat.export.receipt import draw
from splat.photos.loader import Loader
from splat.render import drawing_as
from splat.runs.folder import read_config
from splat.system.colours import rgb
from splat.types import Batch, Camera, Drawing, Gaussians, Needs, Renderer


def held_out(run: Path) -> tuple[list[Batch], list[Camera]]:
    """The held-out photos of a run, as large as it had them, and its training cameras."""
    config = read_config(run / "config.json")
    assert config.reading is not None
    scene = api.read_scene(config.scene, config.reading)
    known = {entry["name"]: camera for camera, entry in cameras_of(run / "cameras.json")}
    loader = Loader(
        scene.test,
        frame=INPUT_FRAME,
        downscale=scene.test[0].camera.width / known[scene.test[0].name].width,
        background=rgb(config.options.background),
        masks=config.options.mask_mode,
    )
    with closing(loader):
        photos = [loader.batch(i) for i in range(len(scene.test))]
    return photos, [known[view.name] for view in scene.train]


@torch.no_grad()
def seen(
    gaussians: Gaussians, render: Renderer, photos: Sequence[Batch], train: Sequence[Camera]
) -> list[Bool[Tensor, "h w"]]:
    """Pixels of photos that show what a training photo shows."""
    drawn = [(camera, render(gaussians, camera, Needs(depth=True))) for camera in train]
    found = []
    for photo in photos:
        view = render(gaussians, photo.camera, Needs(depth=True))
        shown = [confirmed(photo.camera, view, camera, known) for camera, known in drawn]
        found.append(torch.stack(shown).any(0))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--by", type=Path, required=True)
    asked = parser.parse_args()
    render = drawing_as(Drawing(), INPUT_FRAME, "cpu")
    photos, train = held_out(asked.by)
    parts = seen(formats.read(asked.by / "point_cloud.ply"), render, photos, train)
    rows = []
    for run in asked.runs:
        gaussians = formats.read(run / "point_cloud.ply")
        for photo, part in zip(photos, parts, strict=True):
            picture = draw(gaussians, photo.camera, render, None)
            whole, shown = psnr(picture, photo.image), psnr(picture, photo.image, part)
            share = f"{100 * part.double().mean():.1f} %"
            rows.append([str(run), photo.name, f"{whole:.2f}", share, f"{shown:.2f}"])
    print(markdown(["run", "photo", "whole, dB", "seen", "of it, dB"], rows))


if __name__ == "__main__":
    main()
