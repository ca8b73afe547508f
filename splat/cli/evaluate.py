"""`splat eval`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from splat import api, formats
from splat.blocks.again import measure_again
from splat.cli.asked.evaluate import Evaluate
from splat.core.strategy import Fixed
from splat.options import Options
from splat.options.parse import parsed
from splat.recipes import recipe
from splat.recipes.described import recipe_names
from splat.recipes.model_files import ModelFile, background_in, model_file
from splat.render import drawing_as
from splat.runs.folder import Folder, existing, read_config
from splat.sensor.held_out import HeldOutFit
from splat.system.colours import hexadecimal, rgb
from splat.system.files import read_json, write_json
from splat.training.finish import figures, held_out_fit, measure, summary
from splat.training.off_path import measured_off_path
from splat.training.prepare import Job, loaders, prepare
from splat.types import SceneData

FIGURES = (
    *("psnr", "ssim", "lpips", "lpips_net", "lpips_missing", "split", "views", "per_view"),
    *("protocol", "psnr_unfitted", "own_near", "floaters", "off_path", "clip"),
)
"""Metrics that a new measurement replaces in those of a run; `off_path` where it was asked for."""


def main(arguments: Sequence[str]) -> int:
    """Measure a run or a file; the exit code."""
    asked = parsed(Evaluate, "eval", arguments)
    if Folder(asked.what).in_blocks():
        return _of_blocks(asked)
    if asked.what.is_file():
        job = _of_file(asked)
    else:
        job = api.reopened(asked.what, asked.scene, device=asked.device, renderer=asked.renderer)
    with closing(job):
        if job.held_out is None and not asked.off_path:
            raise ValueError(
                f"no view of {job.scene.path} is held out; nothing to measure on: see --eval"
            )
        net = None if asked.net == "none" else asked.net
        measurement = measure(job, net, fit=_fit(job, asked.fit))
        record = figures(job, measurement, 0.0)
        if asked.off_path:
            record["off_path"] = measured_off_path(job, measurement).as_dict()
    if asked.what.is_dir():
        record = _brought_up_to_date(asked.what, record)
    print(json.dumps(record, indent=1) if asked.json else summary(record))
    return 0


def _fit(job: Job, asked: str) -> HeldOutFit | None:
    if asked == "auto":
        return held_out_fit(job)
    if asked == "none":
        return None
    run = job.run
    return HeldOutFit(
        run.model,
        run.last_render,
        run.background,
        exposure=asked != "pose",
        pose=asked != "exposure",
    )


def _of_blocks(asked: Evaluate) -> int:
    """Measure the merged blocks of a run; the exit code."""
    if asked.fit not in ("auto", "none"):
        raise ValueError(
            f"fit is {asked.fit!r}, and {asked.what} was trained in blocks, which learn neither"
            " poses nor exposures; leave it out"
        )
    if asked.off_path:
        merged = Folder(asked.what).gaussians
        raise ValueError(
            f"{asked.what} was trained in blocks, and only what one process holds is measured off"
            f" the path; give the merged file, {merged}, with --scene"
        )
    record = measure_again(
        existing(asked.what),
        asked.scene,
        asked.device,
        None if asked.net == "none" else asked.net,
        asked.renderer,
    )
    print(json.dumps(record, indent=1) if asked.json else summary(record))
    return 0


def _of_file(asked: Evaluate) -> Job:
    if asked.scene is None:
        raise ValueError(f"{asked.what} is a file; say with --scene which photos to measure it on")
    scene = api.read_scene(asked.scene, asked.reading)
    if (own := model_file(asked.what.suffix)) is not None:
        return _of_model(asked, own, scene)
    drawing = formats.drawing(asked.what)
    options = Options(
        init=asked.what,
        downscale=asked.downscale,
        max_side=asked.max_side,
        background=asked.background,
        antialiased=drawing.antialiased,
        device=asked.device,
        renderer=asked.renderer,
        exposure="off",
        steps=1,
    )
    moves = formats.read(asked.what).motion is not None
    return prepare(scene, recipe.moving(Fixed()) if moves else Fixed(), options)


def _of_model(asked: Evaluate, own: ModelFile, scene: SceneData) -> Job:
    """A job that draws a model from a file of its own, in the frame of that file."""
    if asked.device == "cuda":
        raise ValueError(f"{asked.what} is measured on the CPU only; leave --device cuda out")
    model, frame, drawing = own.read(asked.what)
    if asked.background == "auto":
        behind = background_in(asked.what)
    else:
        behind = torch.tensor(rgb(asked.background))
    options = Options(
        downscale=asked.downscale,
        max_side=asked.max_side,
        background="black" if behind is None else hexadecimal(behind.tolist()),
        device="cpu",
        exposure="off",
        steps=1,
    )
    job = prepare(scene, Fixed(), options)
    job.close()
    device = job.run.render.device
    photos, test = loaders(scene, job.options, frame, device)
    run = replace(
        job.run,
        model=model,
        modules=model.networks(),
        frame=frame,
        drawing=drawing.plain,
        render=model.drawn_by(drawing_as(drawing.plain, frame, device)),
        batches=photos,
        views=photos.cameras,
        photos=photos.batch_at,
        background=behind,
    )
    return replace(job, run=run, photos=photos, held_out=test)


def _brought_up_to_date(run: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The metrics of the run with the new figures, if they are of the same step."""
    place = existing(run)
    metrics = read_json(place.metrics) if place.metrics.is_file() else {}
    if metrics.get("steps") != record["steps"]:
        # What was measured may be without a strategy of somebody's own.
        names = recipe_names(read_config(place.config).method)
        absent = "fixed" in record["method"].split(" + ") and "fixed" not in names.split(" + ")
        return record | ({"method": names, "recipe": names} if absent else {})
    metrics |= {name: record[name] for name in FIGURES if name in record}
    write_json(place.metrics, metrics)
    return dict(metrics)
