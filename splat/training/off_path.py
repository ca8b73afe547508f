"""A run, measured where no photo was taken."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from splat.cleanup.floaters import Rules, floaters
from splat.core.frame import camera_from_frame
from splat.datasets.split import holds_out_a_stretch
from splat.datasets.truth import truth_of
from splat.evaluation.evaluate import Metrics
from splat.evaluation.off_path import (
    Kind,
    OffPath,
    Truth,
    against_truth,
    between_photos,
    places,
)
from splat.kernels import one_torch_thread
from splat.render.camera_order import path_order
from splat.training.finish import held_out_fit, measure
from splat.training.prepare import Job
from splat.types import Camera


def measured_off_path(
    job: Job, metrics: Metrics | None = None, truth: Truth | None = None
) -> OffPath:
    """Figures of the model of a job off the path of its photos, as any program draws them.

    `metrics` are those of its held-out photos, measured here where they are needed and left out.
    `truth` draws what a camera in the frame of the input sees, on the CPU, None where it stands
    outside of what is known; where it is left out, that of scenes that this package generated
    (`splat.datasets.truth`).
    """
    with one_torch_thread():  # figures are the same for any number of threads
        return _measured(job, metrics, truth)


def _measured(job: Job, metrics: Metrics | None, truth: Truth | None) -> OffPath:
    start = time.perf_counter()
    run, known = job.run, truth or truth_of(job.scene)
    path, photos = _path(job), _photos(job)

    def seen(camera: Camera) -> Float[Tensor, "h w 3"] | None:
        assert known is not None
        return known(camera_from_frame(camera, run.frame))

    def floating(cameras: Sequence[Camera]) -> float:
        return floaters(run.baked(), run.shown, cameras, run.background, Rules(rounds=1)).share

    render, background = run.last_render, run.background
    kinds = (
        {}
        if known is None
        else against_truth(run.model, render, places(photos, path), seen, background)
    )
    between = between_photos(
        run.model,
        render,
        path,
        background,
        floating=floating if run.model.rows_are_gaussians else None,
    )
    return OffPath(kinds, _stretch(job, metrics), between, time.perf_counter() - start)


def _path(job: Job) -> list[Camera]:
    """The cameras that are trained on, as the run found them to stand, in the order of a path."""
    cameras = [job.run.sensor.aim(camera).detached().to("cpu") for camera in job.photos.cameras]
    names = [view.name for view in job.scene.train]
    return [cameras[i] for i in path_order(cameras, names)]


def _photos(job: Job) -> list[Camera]:
    """The cameras of all photos by name, so that places do not depend on which are held out."""
    found = dict(zip((view.name for view in job.scene.train), job.photos.cameras, strict=True))
    if job.held_out is not None:
        found |= zip((view.name for view in job.scene.test), job.held_out.cameras, strict=True)
    return [found[name].to("cpu") for name in sorted(found)]


def _stretch(job: Job, metrics: Metrics | None) -> Kind | None:
    if not holds_out_a_stretch(job.scene):
        return None
    metrics = metrics or measure(job, None, fit=held_out_fit(job))
    if metrics is None:
        return None
    values = [view.psnr for view in metrics.views if not math.isnan(view.psnr)]
    return Kind.of(values) if values else None
