"""The depth from which Gaussians are drawn: figures and pictures are those of any program."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from splat import datasets, formats, kernels
from splat.cli.opened import open_scene
from splat.core.frame import camera_to_frame
from splat.core.strategy import Fixed
from splat.export.receipt import draw
from splat.loop import next_step
from splat.options import Options
from splat.render import drawing_as
from splat.render.gsplat import straight
from splat.render.native import NativeRenderer
from splat.runs import checkpoint
from splat.runs.folder import Folder
from splat.seeding import air
from splat.system.files import read_json
from splat.training.prepare import prepare
from splat.types import Camera, Drawing, Frame, Gaussians

Splat = Callable[..., Any]
CAMERA = Camera(torch.eye(4), torch.tensor([[50.0, 0, 50], [0, 50, 50], [0, 0, 1]]), 100, 100)


def near_of(render: object) -> float:
    """The nearest depth that a renderer draws, units of its frame."""
    assert isinstance(render, NativeRenderer)
    return render.projection.near


def test_the_nearest_hundredth_of_what_a_camera_sees() -> None:
    line = torch.zeros(201, 3)
    line[:, 2] = torch.arange(201) + 1.0
    elsewhere = torch.tensor([[0.0, 0.0, -0.1], [3.0, 0.0, 0.5], [0.0, -0.6, 0.5]])
    (found,) = air.with_clear_air([CAMERA], torch.cat([elsewhere, line]))
    assert abs(found.clear_depth - 1.5) < 1e-5, "behind and beside the camera do not count"
    ahead = replace(CAMERA, world_to_camera=torch.eye(4))
    ahead.world_to_camera[2, 3] = -1.5  # sees 200 of the points, from a depth of 0.5 on
    both = air.with_clear_air([CAMERA, ahead], line)
    assert [round(camera.clear_depth, 5) for camera in both] == [1.5, (0.5 + 1.99) / 2]
    (found,) = air.with_clear_air([CAMERA], elsewhere)
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


def test_what_lies_far_beside_the_picture_is_no_veil_over_it() -> None:
    """Half of a side is 1 in x/z here, and so the border lies at 1.3."""
    means = torch.tensor([[1.29, 0.0, 1.0], [1.31, 0.0, 1.0], [0.0, -0.7, 0.5], [0.0, -2.5, 2.0]])
    given = Gaussians(
        means, torch.tensor([[1.0, 0, 0, 0]] * 4), torch.full((4, 3), 0.5), torch.full((4,), 0.9),
        torch.ones(4, 3),
    )  # fmt: skip
    assert NativeRenderer()(given, CAMERA).visible.tolist() == [True] * 4
    kept = [True, False, False, True]
    assert NativeRenderer(beside=False)(given, CAMERA).visible.tolist() == kept
    assert straight(means, CAMERA).tolist() == kept


def test_the_usual_depth_is_that_of_other_programs() -> None:
    assert kernels.NEAR == 0.01, "gsplat's default, in units of the input"
    small = Frame((0.0, 0.0, 0.0), 5.0)
    assert near_of(drawing_as(Drawing(), small, "cpu")) == 5 * 0.01
    assert near_of(drawing_as(Drawing(near=0.5), small, "cpu")) == 5 * 0.5


def test_a_run_trains_with_its_own_depth_and_shows_what_any_program_shows(
    splat: Splat, tiny_folder: Path, tmp_path: Path
) -> None:
    scene = datasets.load(tiny_folder)
    options = Options(steps=2, max_side=0, device="cpu")
    with closing(prepare(scene, Fixed(), options)) as job:
        frame, run = job.run.frame, job.run
        assert run.shown is run.render and abs(near_of(run.render) - 0.01 * frame.scale) < 1e-9
    command = ("train", tiny_folder, "--out", "run", "--steps", 2, "--quiet", "--no-pictures")
    for asked, own in (((), None), (("--near", 1.5), 1.5)):
        assert splat(*command, "--overwrite", *asked, "fixed").code == 0
        resumed = splat("resume", "run", "--steps", 4, "--quiet")
        assert resumed.code == 0
        state = checkpoint.load(Folder(tmp_path / "run").latest())
        assert state["drawing"]["near"] == own, "resume trains with what it began with"
        shown = open_scene(tmp_path / "run", "cpu", "auto")
        assert abs(near_of(shown.render) - 0.01 * frame.scale) < 1e-9
        assert formats.drawing(tmp_path / "run/point_cloud.ply").near is None
        metrics = read_json(tmp_path / "run/metrics.json")
        assert (metrics["own_near"] or {}).get("near") == own
        assert ("from a depth of 1.5 on" in resumed.out) == bool(own)


def test_figures_count_what_hangs_before_cameras(tiny_folder: Path) -> None:
    scene = datasets.load(tiny_folder)
    options = Options(steps=2, max_side=0, device="cpu", near=0.2)
    with closing(prepare(scene, Fixed(), options)) as job:
        run = job.run
        camera = run.views[0]
        ahead = camera.centre + 0.1 * run.frame.scale * camera.world_to_camera[2, :3]
        one = Gaussians(ahead[None], torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.01),
                        torch.ones(1), torch.ones(1, 3))  # fmt: skip
        renderers = (run.render, run.shown, run.last_render)
        drawn = [float(draw(one, camera, each, None).max()) for each in renderers]
        assert drawn[0] == 0 and drawn[1] == drawn[2] > 0.5
        with torch.no_grad():
            run.model.cloud["mean"].copy_(ahead.expand(len(run.model.cloud), 3))
        assert float(next_step(run).rendered.alpha.max()) == 0, "training goes by its own depth"
