"""The depth from which a run draws: half of where the scene is known to begin."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from splat import datasets, formats
from splat.cli.opened import open_scene
from splat.core.frame import camera_to_frame, focus_point
from splat.core.strategy import Fixed
from splat.options import Options
from splat.render.native import NativeRenderer
from splat.seeding import points
from splat.training.prepare import Job, prepare
from splat.types import Camera, Frame, Gaussians, Points

Splat = Callable[..., Any]
CAMERA = Camera(torch.eye(4), torch.tensor([[50.0, 0, 50], [0, 50, 50], [0, 0, 1]]), 100, 100)


def drawn_from(job: Job) -> float:
    """The nearest depth that the renderer of a job draws, frame of training."""
    assert isinstance(job.run.render, NativeRenderer)
    return job.run.render.projection.near


def test_the_nearest_hundredth_of_what_a_camera_sees() -> None:
    line = torch.zeros(201, 3)
    line[:, 2] = torch.arange(201) + 1.0
    elsewhere = torch.tensor([[0.0, 0.0, -0.1], [3.0, 0.0, 0.5], [0.0, -0.6, 0.5]])
    (found,) = points.with_clear_depth([CAMERA], torch.cat([elsewhere, line]))
    assert abs(found.clear_depth - 1.5) < 1e-5, "behind and beside the camera do not count"
    ahead = replace(CAMERA, world_to_camera=torch.eye(4))
    ahead.world_to_camera[2, 3] = -1.5  # sees 200 of the points, from a depth of 0.5 on
    both = points.with_clear_depth([CAMERA, ahead], line)
    assert [round(camera.clear_depth, 5) for camera in both] == [1.5, (0.5 + 1.99) / 2]
    (found,) = points.with_clear_depth([CAMERA], elsewhere)
    assert found.clear_depth == 0, "nothing in sight, nothing known"
    moved = camera_to_frame(both[0], Frame((1.0, 2.0, 3.0), 0.5))
    assert abs(moved.clear_depth - 0.75) < 1e-6


def test_a_renderer_leaves_out_what_is_nearer() -> None:
    means = torch.tensor([[0.0, 0.0, 0.4], [0.0, 0.0, 0.6]])
    given = Gaussians(
        means, torch.tensor([[1.0, 0, 0, 0]] * 2), torch.full((2, 3), 0.05), torch.full((2,), 0.5),
        torch.ones(2, 3),
    )  # fmt: skip
    assert NativeRenderer()(given, CAMERA).visible.tolist() == [True, True]
    assert NativeRenderer(near=0.5)(given, CAMERA).visible.tolist() == [False, True]


def test_a_run_measures_draws_and_resumes_with_the_depth_it_began_with(
    splat: Splat, tiny_folder: Path, tmp_path: Path
) -> None:
    scene = datasets.load(tiny_folder)
    options = Options(steps=2, max_side=0, device="cpu")
    with closing(prepare(scene, Fixed(), options)) as job:
        near, frame = job.run.drawing.near, job.run.frame
    assert near is not None and scene.points is not None
    cameras = [view.camera for view in scene.train]
    seeing = points.with_clear_depth(cameras, scene.points.positions)
    assert abs(near - min(camera.clear_depth for camera in seeing)) < 1e-4 * near
    command = ("train", tiny_folder, "--out", "run", "--steps", 2, "--quiet", "--no-pictures")
    for asked, wanted in (((), near), (("--near", 0.5), 0.5)):
        assert splat(*command, "--overwrite", *asked, "fixed").code == 0
        assert splat("resume", "run", "--steps", 4, "--quiet").code == 0
        found = open_scene(tmp_path / "run", "cpu", "auto")
        assert found.drawing.near == wanted
        assert isinstance(found.render, NativeRenderer)
        assert abs(found.render.projection.near - wanted * frame.scale) < 1e-9
        assert formats.drawing(tmp_path / "run/point_cloud.ply").near == wanted


def test_without_points_the_start_tells_and_gsplats_depth_is_the_least(tiny_folder: Path) -> None:
    scene = datasets.load(tiny_folder)
    options = Options(steps=2, max_side=0, device="cpu")
    with closing(prepare(replace(scene, points=None), Fixed(), options)) as job:
        focus = focus_point(job.photos.cameras)
        away = min(float((c.centre.double() - focus).norm()) for c in job.photos.cameras)
        # Random points begin at a tenth of the distance to what the cameras look at.
        assert 0.05 * away <= drawn_from(job) < 0.08 * away
    cameras = [view.camera for view in scene.train]
    before = torch.stack([c.centre + 1e-3 * c.world_to_camera[2, :3] for c in cameras])
    touching = Points(before.repeat(50, 1), torch.ones(50 * len(before), 3))
    with closing(prepare(replace(scene, points=touching), Fixed(), options)) as job:
        assert abs(drawn_from(job) - 0.01) < 1e-6
