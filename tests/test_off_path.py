"""Figures off the path: places and shares by hand, a planted blob, truth of a generated scene."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_datasets import colmap_binary
from test_floaters import RENDER, blobs, joined, looking_at_the_wall, wall
from torch import Tensor

from splat import datasets
from splat.cleanup.floaters import Rules, floaters
from splat.datasets import demo
from splat.datasets.split import holds_out_a_stretch
from splat.datasets.truth import truth_of
from splat.evaluation.evaluate import psnr
from splat.evaluation.off_path import (
    Between,
    Kind,
    OffPath,
    against_truth,
    between_photos,
    confirmed,
    energy,
    gaps,
    places,
    summary_lines,
)
from splat.options import Options
from splat.render.camera_order import neighbours, path_order
from splat.types import Camera, Gaussians, Needs, Rendered

Splat = Callable[..., Any]
TINY = Options(steps=20, max_side=0, seed=3, threads=2)


def ring(count: int, radius: float = 4.0) -> list[Camera]:
    """Cameras round the middle of the world, which look at it; z is up."""
    found = []
    for index, camera in enumerate(demo.cameras(3, 40, 30)[:1] * count):
        angle = 2 * math.pi * index / count
        ahead = torch.tensor([-math.cos(angle), -math.sin(angle), 0.0])
        right = torch.tensor([-math.sin(angle), math.cos(angle), 0.0])
        pose = torch.eye(4)
        pose[:3, :3] = torch.stack([right, torch.tensor([0.0, 0, -1]), ahead])
        pose[2, 3] = radius
        found.append(replace(camera, world_to_camera=pose, index=index))
    return found


def test_places_by_hand() -> None:
    photos = ring(8)
    found = places(photos, photos)
    assert {kind: len(cameras) for kind, cameras in found.items()} == {
        "pulled in": 8, "pushed out": 8, "raised": 8, "between": 7,
    }  # fmt: skip
    for kind, distance in (("pulled in", 2.4), ("pushed out", 4.8)):
        for camera, photo in zip(found[kind], photos, strict=True):
            torch.testing.assert_close(
                camera.centre, photo.centre / 4 * distance, atol=1e-5, rtol=0
            )
            assert torch.equal(camera.world_to_camera[:3, :3], photo.world_to_camera[:3, :3])
    for camera in found["raised"]:
        # Half of its distance up, then back to the distance: atan(1/2) above the horizon.
        assert float(camera.centre.norm()) == pytest.approx(4, abs=1e-5)
        assert float(camera.centre[2]) == pytest.approx(4 * math.sin(math.atan(0.5)), abs=1e-5)
        torch.testing.assert_close(camera.world_to_camera[2, :3], -camera.centre / 4)
        assert float(camera.world_to_camera[0, 2]) == pytest.approx(0, abs=1e-6)  # upright
    for i, camera in enumerate(found["between"]):
        half = torch.tensor(2 * math.pi * (i + 0.5) / 8)
        assert float(camera.world_to_camera[2, 0]) == pytest.approx(-float(half.cos()), abs=1e-5)


def test_the_order_of_a_path_is_that_of_names_in_sequence_or_of_places() -> None:
    cameras = looking_at_the_wall(*(0.2 * i for i in range(12)))
    names = [f"IMG_{i + 2}.jpg" for i in range(12)]
    order = [3, 0, 7, 11, 1, 4, 2, 10, 5, 9, 6, 8]
    mixed, mixed_names = [cameras[i] for i in order], [names[i] for i in order]
    # IMG_9 comes before IMG_10; a plain sort has it last.
    assert [mixed_names[i] for i in path_order(mixed, mixed_names)] == names
    # Names that say nothing: from one end to the nearest, and so on.
    assert path_order(mixed, names) in ([order.index(i) for i in range(12)],
                                        [order.index(i) for i in reversed(range(12))])  # fmt: skip
    # A walk that jumps has no neighbours there, nor have pictures of another size.
    jumped = looking_at_the_wall(0.0, 0.2, 0.4, 0.6, 4.0, 4.2)
    assert neighbours(jumped) == [0, 1, 2, 4]
    jumped[1] = jumped[1].resized(40, 30)
    assert neighbours(jumped) == [2, 4] and neighbours(jumped[:1]) == []
    assert [(a.index, b.index) for _, a, b in gaps(jumped)] == [(2, 3), (4, 5)]


def drawn(depth: Tensor, alpha: float = 1.0) -> Rendered:
    height, width = depth.shape
    nothing = blobs(torch.zeros(1, 3), 1.0, 1.0, 0.0)
    image = torch.zeros(height, width, 3)
    full = torch.full((height, width), alpha)
    return Rendered(image, full, torch.ones(1), nothing, depth=depth)


def test_surfaces_are_confirmed_pixel_by_pixel_as_by_hand() -> None:
    first, second = looking_at_the_wall(0.0, 0.5)  # 80 x 60 pixels, focal length 80
    plane = torch.full((60, 80), 4.0)
    # A plane at depth 4 is 80 * 0.5 / 4 = 10 columns further left in the second picture.
    seen = confirmed(first, drawn(plane), second, drawn(plane))
    assert not seen[:, :10].any() and seen[:, 10:].all()
    # Within 5 % of what the other draws, and not beyond.
    assert confirmed(first, drawn(plane), second, drawn(plane / 1.049))[:, 10:].all()
    assert not confirmed(first, drawn(plane), second, drawn(plane / 1.051)).any()
    assert not confirmed(first, drawn(plane), second, drawn(plane, alpha=0.4)).any()
    # Something at depth 1 in columns 40 to 44, which is 40 columns further left for the other: it
    # sees the plane there, and so it does through what would be out of its sight (20 to 24).
    before = plane.clone()
    before[:, 40:45], before[:, 20:25] = 1.0, 1.0
    seen = confirmed(first, drawn(before), second, drawn(plane))
    assert not seen[:, 20:25].any() and not seen[:, 40:45].any()
    assert int(seen.sum()) == 60 * (70 - 10)


def test_gradient_energy_by_hand() -> None:
    edge = torch.zeros(10, 21, 3)
    edge[:, 7:] = 0.5
    assert energy(edge) == pytest.approx(0.25 / 20)  # one column of 20 differences
    assert energy(edge.transpose(0, 1)) == pytest.approx(0.25 / 20)
    assert energy(3 * edge) == pytest.approx(1 / 20)  # what is beyond white is white


class Hazy:
    """A renderer whose pictures are a pattern, half as strong where x is between two numbers."""

    device = torch.device("cpu")

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(
        self, gaussians: Gaussians, camera: Camera, needs: Needs, background: Tensor | None
    ) -> Rendered:
        assert needs.depth and background is None
        hazy = self.low < float(camera.centre[0]) < self.high
        pattern = (torch.arange(80) % 2).float().expand(60, 80) * (0.5 if hazy else 1.0)
        flat = drawn(torch.full((60, 80), 4.0))
        return replace(flat, image=pattern[..., None].expand(60, 80, 3), gaussians=gaussians)


def test_sharpness_is_that_of_the_photos_beside() -> None:
    path = looking_at_the_wall(0.0, 0.5, 1.0)
    rows = blobs(torch.zeros(1, 3), 1.0, 1.0, 0.0)
    found = between_photos(lambda camera: rows, Hazy(0.1, 0.4), path)  # type: ignore[arg-type]
    assert found is not None
    # Half the contrast is a quarter of the energy, in one view of two.
    assert found.sharpness == pytest.approx(0.5) and found.sharpness_worst == pytest.approx(0.25)
    assert found.views == 2 and found.floaters is None
    # Halfway is 5 columns further on: each pixel is in the sight of one neighbour at least.
    assert found.depth == found.depth_worst == 100
    assert between_photos(lambda camera: rows, Hazy(0, 0), path[:1]) is None  # type: ignore[arg-type]


def test_a_planted_blob_between_cameras_lowers_its_view_and_no_other() -> None:
    path = looking_at_the_wall(-0.9, -0.3, 0.3, 0.9)
    # Two planes, the nearer one in the lower left.
    strip = wall(2.5, 25, 1.5)
    strip = strip.take((strip.means[:, 0] < -0.2) & (strip.means[:, 1] > 0.3))
    planes = joined(wall(4.0), strip)
    # At depth 0.4 a neighbour 0.3 aside sees no farther than 0.2.
    blob = blobs(torch.tensor([[0.0, 0.0, 0.4]]), 0.02, 0.99, 0.5)

    def figures(gaussians: Gaussians, cameras: list[Camera]) -> Between:
        found = between_photos(
            lambda camera: gaussians, RENDER, cameras,
            floating=lambda views: floaters(gaussians, RENDER, views, None, Rules(rounds=1)).share,
        )  # fmt: skip
        assert found is not None
        return found

    clean, planted = figures(planes, path), figures(joined(planes, blob), path)
    assert clean.depth_worst > 95 and clean.floaters == 0
    # In its view, pixels whose depth it changes by more than the tolerance are not confirmed.
    middle = gaps(path)[1][0]
    views = [RENDER(each, middle, Needs(depth=True)) for each in (planes, joined(planes, blob))]
    before, after = (view.depth for view in views)
    assert before is not None and after is not None
    covered = float(((after / before - 1).abs() > 0.06).float().mean())
    assert 0.005 < covered < 0.1
    lost = 3 * (clean.depth - planted.depth)  # the mean is over three views
    assert lost == pytest.approx(100 * covered, rel=0.25)
    mass = RENDER.survey(joined(planes, blob), middle)[1].mass
    assert planted.floaters == pytest.approx(100 * float(mass[-1] / (3 * 80 * 60)), rel=0.05)
    # Views of the other gaps are the same to the last digit.
    assert figures(joined(planes, blob), path[:2]) == figures(planes, path[:2])


def test_psnr_against_truth_and_what_stands_outside_of_it() -> None:
    def truth(camera: Camera) -> Tensor | None:
        inside = float(camera.centre[0]) < 1
        return torch.full((60, 80, 3), 0.1 if camera.index else 0.01) if inside else None

    nothing = blobs(torch.zeros(0, 3), 1.0, 1.0, 0.0)
    cameras = looking_at_the_wall(0.0, 0.5, 2.0)
    found = against_truth(
        lambda camera: nothing, RENDER, {"here": cameras, "outside": cameras[2:]}, truth
    )
    # Errors of 0.01 and 0.1 are 40 and 20 dB; the third camera has no truth.
    assert found.keys() == {"here"} and found["here"].views == 2
    assert found["here"].psnr == pytest.approx(30, abs=1e-4)
    assert found["here"].worst == pytest.approx(20, abs=1e-4)
    exact = OffPath({"a": Kind(math.inf, math.inf, 1), "b": Kind(20, 10, 2)}, None, None, 0.0)
    record = exact.as_dict()
    assert record["psnr"] is None and record["worst"] == 10 and record["truth"]["a"]["psnr"] is None
    assert summary_lines(record) == [
        "off the path, against truth: a no error (worst no error), b 20.00 dB (worst 10.00 dB)"
    ]


def test_the_built_in_scene_is_known_wherever_it_lies_and_others_are_not(
    tiny_folder: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(tiny_folder, tmp_path / "mine", ignore=lambda *_: ["truth"])
    scene = datasets.load(moved)
    truth = truth_of(scene)
    assert truth is not None
    camera = scene.test[0].camera
    drawn_anew = truth(camera)
    known = demo.truth(tiny_folder, scene.test[0].name).image.float() / 255
    assert drawn_anew is not None and psnr(drawn_anew, known) > 35
    # 1.2 times the distance is in the air, the room ends before 1.5 times.
    far = {1.2: True, 1.5: False}
    for factor, inside in far.items():
        pose = camera.world_to_camera.clone()
        pose[:3, 3] *= factor
        assert (truth(replace(camera, world_to_camera=pose)) is not None) == inside
    first = min((*scene.train, *scene.test), key=lambda view: view.name)
    shutil.copy(scene.train[5].image, first.image)
    assert truth_of(scene) is None  # its photos are not what is drawn now
    assert truth_of(datasets.load(colmap_binary(tmp_path / "other"))) is None


def test_a_stretch_of_the_path_is_held_out(tmp_path: Path) -> None:
    folder = colmap_binary(tmp_path)
    scene = datasets.load(folder, eval="path")
    assert [view.name for view in scene.test] == ["003.png", "004.png"] and len(scene.train) == 7
    assert scene.notes[-1] == (
        "2 of 9 photos are held out, a stretch of the path from 003.png to 004.png"
    )
    assert holds_out_a_stretch(scene)
    assert not holds_out_a_stretch(datasets.load(folder, eval="8"))
    assert not holds_out_a_stretch(datasets.load(folder, eval="all"))


def test_runs_are_measured_by_the_verb_and_from_python(
    splat: Splat, tiny_folder: Path, tmp_path: Path
) -> None:
    import splat as toolkit

    scene = datasets.load(tiny_folder, eval="path")
    run = tmp_path / "run"
    result = toolkit.train(scene, options=TINY, out=run, lpips=None)
    assert "off_path" not in result.metrics
    asked = ("eval", run, "--net", "none", "--quiet")
    said = splat(*asked, "--off-path").out
    record = json.loads((run / "metrics.json").read_text())["off_path"]
    assert record["truth"].keys() == {"pulled in", "pushed out", "raised", "between"}
    kinds = record["truth"].values()
    assert record["psnr"] == pytest.approx(sum(kind["psnr"] for kind in kinds) / 4)
    assert record["worst"] == min(kind["worst"] for kind in kinds) > 2
    assert record["stretch"] == {
        "psnr": pytest.approx(result.metrics["psnr"]), "views": 2,
        "worst": pytest.approx(min(view["psnr"] for view in result.metrics["per_view"])),
    }  # fmt: skip
    between = record["between"]
    assert between["views"] == 9 and 0 <= between["depth_worst"] <= between["depth"] <= 100
    assert 0 <= between["floaters"] <= 100 and 0 < between["sharpness_worst"]
    for line in summary_lines(record):
        assert line in said
    # What was measured stays, and is the same when it is measured again.
    splat(*asked)
    assert json.loads((run / "metrics.json").read_text())["off_path"] == record
    seen: list[Camera] = []

    def black(camera: Camera) -> Tensor:
        seen.append(camera)
        return torch.zeros(camera.height, camera.width, 3)

    found = toolkit.off_path(run, truth=black)
    assert found.between is not None
    assert found.as_dict()["between"] == between and found.as_dict()["stretch"] == record["stretch"]
    # Cameras are those of the input's frame: nearer to the middle of the built-in scene.
    reach = sorted(float((camera.centre - torch.tensor([0, 0, 0.13])).norm()) for camera in seen)
    assert reach[0] == pytest.approx(0.6 * 3.95, abs=0.03)
    assert reach[-1] == pytest.approx(1.2 * 4.05, abs=0.03)
    assert found.truth["raised"].psnr != record["truth"]["raised"]["psnr"]
