"""The end of a run: its figures, its pictures, and its file of Gaussians, checked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat import kernels
from splat.cleanup.floaters import Rules, floaters
from splat.core.frame import camera_from_frame
from splat.core.knobs import value_text
from splat.core.strategy import Strategy
from splat.evaluation.evaluate import Metrics, ViewMetrics, evaluate, mean_psnr
from splat.evaluation.lpips import Net
from splat.evaluation.off_path import summary_lines
from splat.evaluation.pictures import Row, contact_sheet, curves
from splat.export.receipt import ModelReceipt, export
from splat.export.retrain import retrain
from splat.formats.settings import Settings
from splat.options import Options
from splat.photos.resolution import Sizes
from splat.recipes import recipe
from splat.recipes.model_files import key_of, model_file, written
from splat.render import drawn_by
from splat.rules.views import even_views
from splat.runs.folder import Folder, move_cameras
from splat.runs.log import read_log
from splat.sensor.corrected import Corrected
from splat.sensor.held_out import HeldOutFit
from splat.sensor.tones import Matrices
from splat.system import machine
from splat.system.files import write_json
from splat.system.text import span
from splat.system.version import version
from splat.training.clip_figures import ClipFigures, clip_line
from splat.training.flow import flow_of
from splat.training.prepare import Job, refined_steps
from splat.types import Batch, Camera, Gaussians, SceneData

SCHEMA = 1
"""Version of what `metrics.json` holds (docs/schemas); keys are added, and keep their meaning."""
COUNTED = 16
"""Most views in which Gaussians are counted where rows make them per camera."""
FLOATING = 16
"""Most views in which floaters are looked for."""
MOST_CHANGES = 4
"""Most changes to a run that are named in a line."""

_log = logging.getLogger(__name__)


def finish(
    job: Job,
    folder: Folder | None,
    seconds: float,
    net: Net | None = "alex",
    *,
    whole: Gaussians | None = None,
    pictures: bool = True,
    between: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Measure a run at its end, write its files, and return what `metrics.json` holds.

    `whole` is what the file of Gaussians is to hold, None: what `baked_stand_in` gives.
    `between` is called after every view: this takes a while, and a viewer may have visitors.
    Of several processes each measures its share; the first does the rest, and the others return
    nothing.
    """
    rows: list[Row] = []
    pictures = pictures and folder is not None
    peak = machine.peak_memory()
    placed: dict[str, Camera] = {}
    metrics = measure(job, net, rows if pictures else None, between, placed, fit=held_out_fit(job))
    if not job.run.ranks.first:
        return {}
    record = figures(job, metrics, seconds)
    record["training_memory_mb"] = megabytes(peak)
    if folder is None:
        return record
    _write_placed(job, folder, placed)
    model = job.run.model
    receipt = export(
        baked_stand_in(job) if whole is None else whole,
        job.run.frame,
        folder.gaussians,
        job.run.shown,
        _compared_in(job),
        job.run.background,
        drawing=job.run.drawing.plain,
        photos=metrics is not None,
        whole=model if model.left_out else None,
        dropped=_left_out(job),
        fit=held_out_fit(job),
    )
    record["export"] = vars(receipt)
    if model.own_suffix:
        record[key_of(model.own_suffix)] = vars(_own_file(job, folder, metrics is not None))
    if rows:
        write_sheet(job, folder, rows)
    if pictures:
        last = [] if metrics is None else [{"step": job.run.step, "test_psnr": metrics.psnr}]
        curves(read_log(folder.log) + last, folder.curves)
    write_json(folder.metrics, record)
    return record


def write_sheet(job: Job, folder: Folder, rows: Sequence[Row]) -> None:
    """Draw the contact sheet of a run, anew where one is there."""
    title = f"{job.scene.path.name}, {recipe.names(job.strategy)}"
    contact_sheet(rows, folder.contact_sheet, title)


def baked_stand_in(job: Job) -> Gaussians:
    """The Gaussians of a run's file, in the frame of training.

    Where rows only make Gaussians for a camera, what is baked for all is trained a little more.
    """
    run, steps = job.run, stand_in_steps(job)
    if not steps:
        return run.baked()
    sizes, job.photos.sizes = job.photos.sizes, Sizes()
    photos = job.photos if run.sensor.idle else Corrected(job.photos, run.sensor)
    try:
        # What is cropped away must be there while the rest learns to stand in.
        return run.model.kept(retrain(
            run.baked(whole=True), run.frame, photos, run.render, run.background,
            drawing=run.drawing, suffix=".ply", settings=Settings(), steps=steps, seed=run.seed,
        ))  # fmt: skip
    finally:
        job.photos.sizes = sizes


def stand_in_steps(job: Job) -> int:
    """Steps of fine-tuning of a baked set: a tenth of the run's, within limits."""
    model = job.run.model
    # What moves is baked with its motion, which photos of all times would only blur.
    return refined_steps(job.run.step) if model.left_out and model.motion() is None else 0


def _left_out(job: Job) -> tuple[str, ...]:
    left_out = job.run.model.left_out
    notes: tuple[str, ...] = ()
    if left_out:
        steps = stand_in_steps(job)
        notes = (f"{left_out}, then {steps:,} steps of training" if steps else left_out,)
    crop = region_record(job)["crop"]
    if crop is not None:
        notes += (f"{crop['outside']:,} {job.run.model.unit} outside of the crop",)
    return notes


def region_record(job: Job) -> dict[str, Any]:
    """The box that births and files keep to, and how many rows are in it; None: there is none."""
    model = job.run.model
    if model.region is None:
        return {"crop": None}
    held = model.region.holds(model.cloud[model.place], model.frame)
    inside = int(held.sum())
    return {"crop": {**model.region.described(), "inside": inside, "outside": len(held) - inside}}


def _own_file(job: Job, folder: Folder, photos: bool) -> ModelReceipt:
    """The model as it is, which the set of Gaussians only stands for."""
    run = job.run
    writer = model_file(run.model.own_suffix)
    assert writer is not None
    return written(
        writer, run.model, folder.own_file(run.model.own_suffix), run.frame, run.shown,
        _compared_in(job), run.background, drawing=run.drawing.plain, photos=photos,
        fit=held_out_fit(job),
    )  # fmt: skip


def measure(
    job: Job,
    net: Net | None,
    rows: list[Row] | None = None,
    between: Callable[[], object] = lambda: None,
    placed: dict[str, Camera] | None = None,
    *,
    fit: HeldOutFit | None = None,
) -> Metrics | None:
    """The metrics on the held-out views, or None where there are none.

    `fit` fits photos before they are measured; `placed` is given the cameras by name, where they
    were found to stand.
    """
    if job.held_out is None:
        return None

    clip = None if job.scene.clip is None else ClipFigures(job)

    def look(batch: Batch, image: Float[Tensor, "h w 3"], view: ViewMetrics) -> None:
        if clip is not None:
            clip.look(batch, image, view.psnr)
        if placed is not None:
            placed[batch.name] = batch.camera.to("cpu")
        if rows is not None:
            rows.append(Row.of(batch.name, view.psnr, batch.image, image, batch.mask))
        between()

    ranks = job.run.ranks
    metrics = evaluate(
        job.run.model,
        job.run.last_render,
        job.own_batches(),
        job.run.background,
        lpips=net,
        look=look,
        fit=fit,
        ranks=ranks,
    )
    if rows is not None:
        rows[:] = ranks.interleaved(rows)
    if placed is not None:
        for own in ranks.each(placed):
            placed.update(own)
    if clip is not None:
        metrics = replace(metrics, clip=clip.record(ranks.interleaved(clip.views)))
    return metrics


def _compared_in(job: Job) -> Iterable[Batch]:
    """The views that files are compared in: those held out, or one of training."""
    return [job.photos.batch(0)] if job.held_out is None else job.test_batches()


@torch.no_grad()
def _write_placed(job: Job, folder: Folder, held_out: Mapping[str, Camera]) -> None:
    """Write the cameras of the run anew, where they were refined."""
    sensor = job.run.sensor
    if sensor.poses is None:
        return
    names = [view.name for view in job.scene.train]
    moved = dict(zip(names, map(sensor.aim, job.photos.cameras), strict=True))
    cameras = {**held_out, **moved}
    move_cameras(
        folder.cameras,
        {
            name: camera_from_frame(camera, job.run.frame).world_to_camera
            for name, camera in cameras.items()
        },
    )


def held_out_fit(job: Job, *, pose: bool = True) -> HeldOutFit | None:
    """The fit of held-out photos where the run corrects the photos that it trains on; None: nothing
    is fitted.

    Without `pose`, which takes a while, exposures only.
    """
    run = job.run
    sensor = run.sensor
    if sensor.idle or (sensor.tone is None and not pose):
        return None
    return HeldOutFit(
        run.model,
        run.last_render,
        run.background,
        exposure=sensor.tone is not None,
        mixed=isinstance(sensor.tone, Matrices),
        pose=pose and sensor.poses is not None,
    )


def figures(job: Job, metrics: Metrics | None, seconds: float) -> dict[str, Any]:
    """What `metrics.json` holds of a run and its figures."""
    run, options, scene = job.run, job.options, job.scene
    plain = {} if metrics is None else metrics.as_dict()
    first = job.photos.cameras[0]
    on_cpu = run.render.device.type == "cpu"
    record = {
        **quality_record(metrics, scene),
        "psnr_unfitted": plain.get("psnr_unfitted"),
        "own_near": None if metrics is None else own_near(job),
        **({"clip": _clip(job, plain["clip"])} if plain.get("clip") else {}),
        "views": len(scene.test),
        "size": [first.width, first.height],
        **gaussian_counts(job),
        **region_record(job),
        "floaters": floater_score(job),
        "steps": run.step,
        **({} if run.ranks.alone else {"processes": run.ranks.count}),
        **({} if run.ranks.photos == 1 else {"batch": run.ranks.photos}),
        "ended": _ended(job, plain.get("psnr")),
        "minutes": options.minutes,
        "seconds": round(seconds, 2),
        "seconds_per_step": seconds / max(1, run.step),
        "peak_memory_mb": megabytes(machine.peak_memory()),
        "peak_gpu_memory_mb": None if on_cpu else megabytes(torch.cuda.max_memory_allocated()),
        **program_record(job.strategy, options, run.render.device),
        "scene": str(scene.path),
        "version": version(),
        "per_view": plain.get("views", []),
    }
    return record | ({"commands": list(map(asdict, run.commands))} if run.commands else {})


def quality_record(metrics: Metrics | None, scene: SceneData) -> dict[str, Any]:
    """What `metrics.json` says of pictures, and by what photos and rules it was measured."""
    plain = {} if metrics is None else metrics.as_dict()
    total = len({view.name for view in (*scene.train, *scene.test)})
    return {
        "schema": SCHEMA,
        "psnr": plain.get("psnr"),
        "ssim": plain.get("ssim"),
        "lpips": plain.get("lpips"),
        "lpips_net": plain.get("lpips_net"),
        "lpips_missing": plain.get("lpips_missing", "no view is held out"),
        "split": split_text(len(scene.test), total, len(scene.train)),
        "protocol": plain.get("protocol"),
    }


def program_record(strategy: Strategy, options: Options, device: torch.device) -> dict[str, Any]:
    """What `metrics.json` says of what trained, and on what."""
    on_cpu = device.type == "cpu"
    return {
        "device": "cpu" if on_cpu else torch.cuda.get_device_name(),
        "isa": kernels.isa() if on_cpu else None,
        "renderer": drawn_by(device, options.renderer),
        "threads": options.threads,
        "method": recipe.names(strategy),
        "recipe": recipe.to_text_or_names(strategy),
        "seed": options.seed,
        "antialiased": options.antialiased,
    }


def _clip(job: Job, record: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a clip, with how wrong velocities are where the scene knows them."""
    error = flow_of(job)
    return {**record, **({} if error is None else {"flow_error": error})}


def own_near(job: Job) -> dict[str, float] | None:
    """The nearest depth that the run was trained to draw, units of the input, and the held-out
    PSNR from there, dB; None where it is that of any program, which all other figures are of."""
    run = job.run
    if run.drawing.near is None or job.held_out is None:
        return None
    render, fit = run.quantiser.drawn_by(run.render, run.step), held_out_fit(job)
    if fit is not None:
        fit = replace(fit, render=render)
    batches = job.test_batches()
    value = mean_psnr(run.model, render, batches, run.background, fit=fit)
    return {"near": run.drawing.near, "psnr": value}


@torch.no_grad()
def gaussian_counts(job: Job) -> dict[str, int]:
    """Gaussians; where rows only make them, those of a mean view, and the rows."""
    model, cameras = job.run.model, job.photos.cameras
    if model.rows_are_gaussians:
        return {"gaussians": len(model.cloud)}
    counts = [len(model(cameras[i])) for i in even_views(cameras, COUNTED)]
    return {"gaussians": round(sum(counts) / len(counts)), model.unit: len(model.cloud)}


@torch.no_grad()
def floater_score(job: Job) -> dict[str, float] | None:
    """The floater score on training views, in percent; None where rows only make Gaussians."""
    run, photos = job.run, job.photos
    if not run.model.rows_are_gaussians:
        return None
    sensor = run.sensor
    batches = [photos.batch(i) for i in even_views(photos.cameras, FLOATING)]
    aimed = [sensor.aimed(batch) for batch in batches]
    verdict = floaters(
        run.baked(), run.shown, aimed, run.background, Rules(rounds=1), develop=run.developed
    )
    return {"percent": verdict.share, "rows": int(verdict.rows.sum()), "views": verdict.views}


def _ended(job: Job, psnr: float | None) -> str | None:
    """Why training ended early, or which quality it missed; None where it took all its steps."""
    run, asked = job.run, job.options.psnr
    if run.ended:
        return f"at step {run.step:,} of {run.steps:,}: {run.ended}"
    if not run.over or asked is None or psnr is None or psnr >= asked:
        return None
    return f"after all {run.steps:,} steps, short of the {asked:g} dB asked for"


def summary(record: Mapping[str, Any]) -> str:
    """The figures of a run for people, a few lines."""
    lines = []
    if record["psnr"] is not None:
        perceptual = (
            f"LPIPS ({record['lpips_net']}) {record['lpips']:.4f}"
            if record["lpips"] is not None
            else f"no LPIPS ({record['lpips_missing']})"
        )
        lines.append(f"PSNR {record['psnr']:.2f} dB, SSIM {record['ssim']:.4f}, {perceptual}")
    if record.get("psnr_unfitted") is not None:
        lines.append(
            f"{record['protocol']}; without that, on whole photos, {record['psnr_unfitted']:.2f} dB"
        )
    if record.get("own_near"):
        own = record["own_near"]
        lines.append(
            f"drawn from a depth of {own['near']:.3g} on, as it was trained, {own['psnr']:.2f} dB:"
            " other programs show what is above"
        )
    width, height = record["size"]
    on = f"on {record['split']}" if record["views"] else "no view is held out"
    lines.append(f"{on}, at {width}x{height} pixels")
    if record.get("clip") and (line := clip_line(record["clip"])):
        lines.append(line)
    if record.get("off_path"):
        lines += summary_lines(record["off_path"])
    last = f"{record['gaussians']:,} Gaussians"
    if "anchors" in record:
        last = f"{record['anchors']:,} anchors, which make {last} in a view"
    if record["seconds"]:
        last += (
            f", {record['steps']:,} steps{_each(record)} in {span(record['seconds'])}"
            f" ({1e3 * record['seconds_per_step']:.1f} ms a step)"
        )
    if record.get("minutes"):
        last += f" of the {span(60 * record['minutes'])} asked for"
    peak = f", at most {record['peak_memory_mb']:,.0f} MB" if record["peak_memory_mb"] else ""
    lines.append(f"{last}{peak}, on {record['device']}")
    if record.get("crop"):
        crop = record["crop"]
        lines.append(f"of these {crop['inside']:,} are inside of the crop, which files hold")
    if record.get("floaters"):
        floaters = record["floaters"]
        lines.append(
            f"floaters: {floaters['rows']:,}, which are {floaters['percent']:.2f} % of what is"
            " drawn"
        )
    if record.get("commands"):
        lines.append(_changes_said(record["commands"]))
    if record.get("ended"):
        lines.append(f"training ended {record['ended']}")
    return "\n".join(lines)


def _each(record: Mapping[str, Any]) -> str:
    """Photos that each step showed, where these were several, as a clause."""
    return f" of {record['processes']} photos" if "processes" in record else ""


def _changes_said(commands: Sequence[Mapping[str, Any]]) -> str:
    """The changes made while the run trained, in a line."""
    changes = [f"{c['name']} {value_text(c['value'])} at step {c['step']:,}" for c in commands]
    if len(changes) > MOST_CHANGES:
        changes[MOST_CHANGES - 1 :] = [f"{len(changes) - MOST_CHANGES + 1:,} more"]
    return f"changed while it trained: {', '.join(changes)}"


def split_text(test: int, total: int, train: int) -> str:
    """The views that figures are of, in words."""
    if test == 0:
        return "no view: none is held out"
    if test == total == train:
        return f"all {total} views, which were trained on too"
    return f"{test} of {total} views that were never trained on"


def megabytes(count: int | None) -> float | None:
    """Bytes in megabytes, as records hold them."""
    return None if count is None else round(count / 1e6, 1)
