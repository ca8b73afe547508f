"""Options of a run in blocks, decided once for all, and checks of what cannot be combined."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch

from splat import formats
from splat.core.frame import camera_to_frame, points_to_frame
from splat.core.strategy import Strategy
from splat.formats.point_cloud import read_points
from splat.math import spread
from splat.options import PLANES, Options
from splat.planning import memory, predict
from splat.scene import shrunk
from splat.seeding import sky
from splat.training.decide import background_of
from splat.training.row_budget import model_of_one
from splat.types import Camera, Frame, Points, SceneData

ALONE = ("minutes", "psnr", "patience", "replay", "finish_for")
"""Options that end or steer one run by what happens in it."""

_log = logging.getLogger(__name__)


def check(strategy: Strategy, options: Options) -> None:
    """Raise ValueError where a run cannot be trained in blocks and merged."""
    plain = Options()
    for name in ALONE:
        if getattr(options, name) != getattr(plain, name):
            raise ValueError(
                f"blocks are asked for with --{name.replace('_', '-')}, which is for a run in one"
                " piece: leave one of them out"
            )
    if options.exposure not in ("auto", "off"):
        raise ValueError(
            f"exposure is {options.exposure!r}, which each block would learn for itself, so that"
            " their colours would not meet; with --blocks leave it out, or correct the photos first"
        )
    if options.refine_poses:
        raise ValueError(
            "refine-poses is given, with which each block would move its cameras for itself, so"
            " that blocks would not meet; with --blocks leave it out, or refine poses first"
        )
    if options.init == PLANES or (
        options.init is not None and formats.holds_gaussians(options.init)
    ):
        raise ValueError(
            f"init is {options.init}, and blocks start from points; leave it out, or give points"
        )
    _check_rows(strategy)


def _check_rows(strategy: Strategy) -> None:
    """Raise ValueError where rows are no plain Gaussians, or networks are trained beside them."""
    fits = strategy.handles in ("", "gaussians")
    model = model_of_one(strategy) if fits else None
    if (
        model is None
        or not model.same_for_all_views
        or model.networks()
        or model.surface is not None
    ):
        kind = "rows that make Gaussians for each camera" if not fits else "networks beside them"
        raise ValueError(
            f"the method trains {kind}, which cannot be merged; expected one of plain Gaussians,"
            " such as mrnf or mcmc: leave --blocks out, or take another method"
        )


def points_of(scene: SceneData, options: Options) -> Points:
    """The points to divide by and to start from; ValueError where there are none."""
    points = scene.points if options.init is None else read_points(options.init)
    if points is None or not len(points.positions):
        raise ValueError(
            f"{scene.path}: has no points, and blocks are cut by them; give some with --init, or"
            " leave --blocks out"
        )
    return points


def shared_options(
    scene: SceneData, points: Points, options: Options, device: torch.device, frame: Frame
) -> Options:
    """The options, with all decided that a block would decide by its own photos and points."""
    fitted = predict.with_device_defaults(options, device)
    small = [
        shrunk(view.camera, float(fitted.downscale), fitted.max_side or None)
        for view in scene.train
    ]
    positions = points_to_frame(points, frame).positions
    cameras = [camera_to_frame(camera, frame) for camera in small]
    if options.exposure == "auto":
        _log.info("exposure  off: blocks would each learn their own")
    return replace(
        options,
        steps=fitted.steps,
        max_side=fitted.max_side,
        downscale=fitted.downscale,
        resolution=fitted.resolution,
        background=background_of(scene, options),
        decoding="reduced" if memory.reduces(options, scene.train) else "full",
        exposure="off",
        sky=_sky(cameras, positions, options),
    )


def _sky(cameras: Sequence[Camera], positions: torch.Tensor, options: Options) -> str:
    """Points on the sky sphere for each block, by what all cameras show."""
    if options.sky != "auto":
        return options.sky
    verdict = sky.sky_evidence(
        [cameras[i] for i in spread(len(cameras), sky.MOST_VIEWS)], positions
    )
    return str(sky.COUNT) if verdict.unbounded else "none"
