"""Which sensor corrections a run makes, by its options and its photos."""

from __future__ import annotations

import logging

import torch

from splat.core.frame import points_to_frame
from splat.options import Options
from splat.options.exposure import Exposure
from splat.parallel import ALONE, Ranks
from splat.photos.exif import exposure_value
from splat.photos.loader import Loader
from splat.rules.views import even_views
from splat.sensor.measured import by_camera, by_exif, measured
from splat.sensor.sensor import Sensor, each, rows_for, sensor_for
from splat.training.decide import ASKED
from splat.types import Frame, SceneData

LOOKS_FOR_POSES = 30
"""Times each photo must be shown for refined poses to get better."""
MOST_MEASURED = 200
"""Photos whose exposure is measured before the first step."""

_log = logging.getLogger(__name__)


def sensor_of(
    scene: SceneData,
    options: Options,
    photos: Loader,
    frame: Frame,
    device: torch.device,
    *,
    resumed: bool,
    ranks: Ranks = ALONE,
) -> tuple[Exposure, Sensor, str]:
    """What is learned of exposures, what corrects the photos of a run, and why it is that.

    Of a run that is `resumed` nothing is measured: a checkpoint has it all, and is loaded later.
    `ranks` are the processes that show its photos.
    """
    has_points = scene.points is not None and len(scene.points.positions) > 0
    points = points_to_frame(scene.points, frame) if has_points and scene.points else None
    exposure, gains, why = options.exposure, None, ASKED
    rows = rows_for(photos.cameras)
    shared = rows < len(photos)
    if not resumed and exposure != "off":
        views = even_views(photos.cameras, MOST_MEASURED)
        if points is not None:
            estimate = measured((photos.batch(index).to("cpu") for index in views), points)
        else:
            estimate = by_exif([exposure_value(scene.train[index].image) for index in views])
        if shared:
            whose = [photos.cameras[index].sensor for index in views]
            estimate = by_camera(estimate, whose, rows)
        _log.info("exposure  %s", estimate.text())
        gains = torch.ones(rows, 3)
        gains[range(rows) if shared else views] = estimate.gains
        if exposure == "auto":
            exposure, why = ("channel" if estimate.differ else "off"), estimate.text()
    exposure = "off" if exposure == "auto" else exposure
    assert options.steps is not None
    looks = options.steps / rows
    if options.refine_poses and looks < LOOKS_FOR_POSES and not resumed:
        _log.warning(
            "warning: %s steps show each of %s %ss %.0f times; poses need %s looks or more, or"
            " they get worse: raise --steps",
            f"{options.steps:,}", rows, each(photos.cameras), looks, LOOKS_FOR_POSES,
        )  # fmt: skip
    sensor = sensor_for(
        photos.cameras, ranks.steps_of(options.steps), exposure=exposure,
        refine_poses=options.refine_poses, gains=gains, device=device,
        at_once=ranks.at_once,
    )  # fmt: skip
    return exposure, sensor, why
