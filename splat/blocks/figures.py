"""Metrics of a merged scene on held-out photos: of all pixels, and of those along seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.blocks.merged import Merged
from splat.blocks.plan import BlockPlan, Part, folder_of
from splat.blocks.seams import Strip
from splat.core.strategy import Strategy
from splat.evaluation.evaluate import Metrics, ViewMetrics, evaluate
from splat.evaluation.lpips import Net
from splat.evaluation.pictures import Row
from splat.export.receipt import CLOSEST, Receipt, frame_text
from splat.formats.settings import Settings
from splat.planning import predict
from splat.render import choose_device
from splat.runs.folder import Config, Folder
from splat.system import machine
from splat.system.foreign import reading, record
from splat.system.version import version
from splat.training.finish import megabytes, program_record, quality_record
from splat.training.prepare import loaders
from splat.types import Batch, Camera, Frame, SceneData


def batches_of(
    scene: SceneData, config: Config, frame: Frame, device: torch.device
) -> Iterator[Batch]:
    """The held-out photos, decoded one after the other at the size of training."""
    photos, test = loaders(
        scene, predict.with_device_defaults(config.options, device), frame, device
    )
    with closing(photos), closing(test or photos):
        for index in range(0 if test is None else len(test)):
            assert test is not None
            yield test.batch(index)


def merged_metrics(
    merged: Merged,
    cells: BlockPlan,
    batches: Iterator[Batch],
    net: Net | None,
    rows: list[Row] | None = None,
    seams_of: Callable[[Camera], Tensor] | None = None,
) -> tuple[Metrics, dict[str, Any]]:
    """The metrics of all pixels, and those of the strip along the borders.

    Pictures to show are added to `rows`. `seams_of` says which pixels are of the strip; None: what
    the merged scene shows there says it.
    """
    strip = Strip()

    def look(batch: Batch, image: Float[Tensor, "h w 3"], view: ViewMetrics) -> None:
        seam = (seams_of or (lambda camera: merged.seam(camera, cells)))(batch.camera)
        strip.add(image, batch, seam)
        if rows is not None:
            rows.append(Row.of(batch.name, view.psnr, batch.image, image, batch.mask))

    metrics = evaluate(
        lambda camera: merged.gaussians,
        merged.render,
        batches,
        merged.background,
        lpips=net,
        look=look,
    )
    return metrics, strip.record()


def record_of(
    run: Folder,
    cells: BlockPlan,
    config: Config,
    scene: SceneData,
    strategy: Strategy,
    figures: tuple[Metrics, dict[str, Any]] | None,
    count: int,
) -> dict[str, Any]:
    """What `metrics.json` holds of a run in blocks."""
    device = choose_device(config.options.device, config.options.renderer)[0]
    on_cpu = device.type == "cpu"
    plain = {} if figures is None else figures[0].as_dict()
    parts = [_part_record(run, part) for part in cells.parts]
    seconds = sum(part["seconds"] for part in parts)
    steps = config.options.steps or 0
    peaks = [part["peak_memory_mb"] for part in parts if part["peak_memory_mb"]]
    return {
        **quality_record(None if figures is None else figures[0], scene),
        "psnr_unfitted": None,
        "seams": None if figures is None else figures[1],
        "views": len(scene.test),
        "size": parts[0]["size"],
        "gaussians": count,
        "crop": None,
        "floaters": None,
        "steps": steps,
        "ended": None,
        "minutes": None,
        "seconds": round(seconds, 2),
        "seconds_per_step": seconds / max(1, steps * len(parts)),
        "peak_memory_mb": max(peaks, default=None),
        "merging_memory_mb": megabytes(machine.peak_memory()),
        "peak_gpu_memory_mb": None if on_cpu else max(p["peak_gpu_memory_mb"] or 0 for p in parts),
        **program_record(strategy, config.options, device),
        "scene": str(scene.path),
        "version": version(),
        "blocks": parts,
        "export": vars(_receipt(run, count, config.options.sh_degree, figures)),
        "per_view": plain.get("views", []),
    }


def _part_record(run: Folder, part: Part) -> dict[str, Any]:
    """The figures of a block in the record of the run."""
    path = folder_of(run, part).metrics
    with reading(path, "the metrics of a block: begin the run anew"):
        metrics = record(path)
        for name in ("gaussians", "seconds"):
            metrics.number(name)
        for name in ("peak_memory_mb", "peak_gpu_memory_mb"):
            metrics.number(name, 0.0)
        names = ("gaussians", "seconds", "peak_memory_mb", "peak_gpu_memory_mb", "size")
        return {
            "name": part.name,
            "views": len(part.views),
            "points": part.points,
            "cap": part.cap,
            "kept": metrics.record("crop")["inside"],
            **{name: metrics[name] for name in names},
        }


def _receipt(
    run: Folder, count: int, degree: int, figures: tuple[Metrics, dict[str, Any]] | None
) -> Receipt:
    """The receipt of the merged file, which is measured itself, so that nothing is lost in it."""
    path, psnr = run.gaussians, None if figures is None else min(CLOSEST, figures[0].psnr)
    weight = path.stat().st_size
    return Receipt(
        file=str(path),
        bytes=weight,
        gaussians=count,
        bytes_per_gaussian=weight / count,
        sh_degree=degree,
        frame=frame_text(path, Settings()),
        same_db=None,
        psnr_before=psnr,
        psnr_after=psnr,
    )


def with_new_figures(
    record: dict[str, Any], figures: tuple[Metrics, dict[str, Any]]
) -> dict[str, Any]:
    """The record of a run with its metrics replaced by new ones."""
    plain = figures[0].as_dict()
    names = ("psnr", "ssim", "lpips", "lpips_net", "lpips_missing", "protocol")
    return {
        **record,
        **{name: plain[name] for name in names},
        "seams": figures[1],
        "per_view": plain["views"],
    }
