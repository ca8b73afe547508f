"""Planted floaters are found and surfaces are not; the part, the score, and runs cleaned."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from floaters import discs, joined, lifted
from methods import job_of
from steps import model_of, refined, step_of
from torch import Tensor

from splat import datasets, formats
from splat.cleanup.floaters import Verdict, floaters
from splat.cleanup.free_space import places
from splat.core.frame import camera_to_frame
from splat.core.strategy import Fixed
from splat.datasets import demo
from splat.loop import train
from splat.math import sh_from_rgb
from splat.render import renderer_for
from splat.strategies.floaters import Floaters
from splat.strategies.mcmc import Mcmc
from splat.strategies.scaffold import Scaffold
from splat.types import Batch, Camera, Drawing, Frame, Gaussians, Needs

Splat = Callable[..., Any]
RENDER = renderer_for("cpu")
WIDTH, HEIGHT, STRIDE = 96, 72, 3


def blobs(means: Tensor, size: float | Tensor, opacity: float | Tensor, grey: float) -> Gaussians:
    n = len(means)
    return Gaussians(
        means=means.float(),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        scales=torch.as_tensor(size).reshape(-1, 1).expand(n, 3).float(),
        opacities=torch.as_tensor(opacity).expand(n).float(),
        colors=torch.full((n, 3), grey),
    )


def wall(depth: float = 4.0, side: int = 33, reach: float = 2.4) -> Gaussians:
    """Overlapping grey discs on the plane z = depth."""
    steps = torch.linspace(-reach, reach, side)
    x, y = torch.meshgrid(steps, steps, indexing="ij")
    flat = blobs(torch.stack([x, y, torch.full_like(x, depth)], -1).reshape(-1, 3), 1.0, 0.9, 0.5)
    gap = 2 * reach / (side - 1)
    return replace(flat, scales=torch.tensor([0.8 * gap, 0.8 * gap, 0.01]).expand_as(flat.means))


def looking_at_the_wall(*places: float) -> list[Camera]:
    """Cameras at z = 0 and these x."""
    K = torch.tensor([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]])
    found = []
    for i, x in enumerate(places):
        pose = torch.eye(4)
        pose[0, 3] = -x
        found.append(Camera(pose, K, 80, 60, index=i))
    return found


def photos_of(gaussians: Gaussians, cameras: list[Camera]) -> list[Batch]:
    """What a set looks like, as photos."""
    images = [RENDER(gaussians, camera, Needs()).image for camera in cameras]
    pixels = [(255 * image).round().clamp(0, 255).to(torch.uint8) for image in images]
    return [Batch(camera, each) for camera, each in zip(cameras, pixels, strict=True)]


def surfels(folder: Path) -> tuple[Gaussians, list[Batch], list[Tensor]]:
    """The built-in scene as discs on its true surface, with its photos and depths."""
    scene, frame = datasets.load(folder), Frame((0.0, 0.0, 0.0), 1.0)
    views = sorted((*scene.train, *scene.test), key=lambda view: view.name)
    sets, photos, depths = [], [], []
    for view in views:
        known, camera = demo.truth(folder, view.name), camera_to_frame(view.camera, frame)
        sets.append(discs(camera, known, STRIDE))
        photos.append(Batch(camera, known.image, name=view.name))
        depths.append(known.depth)
    return joined(*sets), photos, depths


def planted(photos: list[Batch], depths: list[Tensor], count: int, seed: int = 0) -> Gaussians:
    """Blobs of any size and opacity before the surface, a quarter of them right before a camera."""
    draw = torch.Generator().manual_seed(seed)
    which = torch.randint(len(photos), (count,), generator=draw).tolist()
    u = torch.rand(count, 4, generator=draw)
    means, sizes = [], []
    for i, view in enumerate(which):
        row, column = (u[i, :2] * torch.tensor([HEIGHT, WIDTH])).long()
        share = 0.06 + 0.1 * u[i, 2] if i < count // 4 else 0.2 + 0.6 * u[i, 2]
        depth = share * depths[view][row, column]
        means.append(lifted(photos[view].camera, row[None], column[None], depth[None]))
        sizes.append(depth * (0.01 + 0.05 * u[i, 3]))
    opacity = 0.1 + 0.85 * torch.rand(count, generator=draw)
    found = blobs(torch.cat(means), torch.stack(sizes), opacity, 0.0)
    return replace(found, colors=torch.rand(count, 3, generator=draw))


@pytest.fixture(scope="module")
def haunted(tiny_folder: Path) -> tuple[Gaussians, int, list[Batch]]:
    """The scene's surface, and 40 blobs after its so many rows."""
    surface, photos, depths = surfels(tiny_folder)
    return joined(surface, planted(photos, depths, 40)), len(surface), photos


def test_planted_floaters_are_found_and_surfaces_are_not(
    haunted: tuple[Gaussians, int, list[Batch]],
) -> None:
    rows, n, photos = haunted
    found = floaters(rows, RENDER, photos)
    recalled = found.mass[n:][found.rows[n:]].sum() / found.mass[n:].sum()
    assert recalled >= 0.9 and found.rows[n:].float().mean() >= 0.8
    assert found.rows[:n].float().mean() <= 0.02
    assert int(found.near[n:].sum()) >= 6 and not (found.near & found.free).any()
    # The score is the share of the pictures that was planted.
    assert found.share == pytest.approx(100 * float(found.mass[n:].sum() / found.mass.sum()), 0.1)
    assert floaters(rows.take(torch.arange(n)), RENDER, photos).share < 0.2


def test_cameras_alone_find_what_is_surely_alone(
    haunted: tuple[Gaussians, int, list[Batch]],
) -> None:
    rows, n, photos = haunted
    found = floaters(rows, RENDER, [photo.camera for photo in photos])
    assert found.mass[n:][found.rows[n:]].sum() >= 0.5 * found.mass[n:].sum()
    assert found.rows[:n].float().mean() <= 0.005


def test_the_order_of_rows_does_not_matter(haunted: tuple[Gaussians, int, list[Batch]]) -> None:
    rows, _, photos = haunted
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    first = floaters(rows, RENDER, photos[::2])
    again = floaters(rows, RENDER, photos[::2])
    assert torch.equal(first.rows, again.rows) and torch.equal(first.mass, again.mass)
    shuffled = floaters(rows.take(order), RENDER, photos[::2])
    differ = (shuffled.rows != first.rows[order]).sum()
    assert differ <= 2, "rows at equal depth are blended in their order"


@pytest.mark.parametrize("opacity", [0.05, 0.5, 0.99])
def test_a_row_is_judged_by_what_is_there_without_it(opacity: float) -> None:
    cameras = looking_at_the_wall(-0.6, 0.0, 0.6)
    rows = joined(wall(), blobs(torch.tensor([[0.1, 0.1, 2.0]]), 0.05, opacity, 1.0))
    found = places(rows, RENDER, cameras, 0.05)
    assert found.alone[-1] > 0.99 and found.seen[-1] == pytest.approx(3, abs=1e-3)
    seen = found.seen[:-1] > 0
    assert found.alone[:-1][seen].max() < 0.05
    # As one of the wall it is held by its neighbours, however opaque.
    level = joined(wall(), blobs(torch.tensor([[0.1, 0.1, 4.0]]), 0.05, opacity, 1.0))
    assert places(level, RENDER, cameras, 0.05).alone[-1] < 0.05


def test_what_is_hidden_is_not_judged() -> None:
    rows = joined(wall(), blobs(torch.tensor([[0.0, 0.0, 6.0]]), 0.1, 0.9, 1.0))
    found = places(rows, RENDER, looking_at_the_wall(-0.3, 0.0, 0.3), 0.05)
    assert found.seen[-1] == 0 and found.alone[-1] == 0


def test_fog_right_before_a_camera_is_near() -> None:
    cameras = looking_at_the_wall(-0.8, 0.0, 0.8, 1.0)
    fog = torch.tensor([[-0.8, 0, 0.3], [-0.79, 0.01, 0.3], [-0.81, 0, 0.31], [-0.8, 0.01, 0.3]])
    rows = joined(wall(), blobs(fog, 0.05, 0.9, 1.0))
    found = floaters(rows, RENDER, photos_of(wall(), cameras))
    assert found.near[-4:].all() and not found.rows[:-4].any()
    # Its rows hold each other, so it is known depth that tells; a camera may know more of it.
    known = [replace(camera, clear_depth=0.1) for camera in cameras]
    assert not places(rows, RENDER, known, 0.05).near.any()
    assert not floaters(rows, RENDER, known).rows.any()


def test_photos_speak_for_what_they_need() -> None:
    cameras = looking_at_the_wall(-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9)
    lamp = blobs(torch.tensor([[0.1, 0.1, 2.0]]), 0.08, 0.9, 1.0)
    rows = joined(wall(), lamp)
    assert floaters(rows, RENDER, cameras).rows.nonzero().flatten().tolist() == [len(rows) - 1]
    assert not floaters(rows, RENDER, photos_of(rows, cameras)).rows.any()
    assert floaters(rows, RENDER, photos_of(wall(), cameras)).free[-1]


def test_one_view_does_not_speak_for_what_is_near_to_it() -> None:
    cameras = looking_at_the_wall(-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9)
    rows = joined(wall(), blobs(torch.tensor([[0.0, 0.0, 0.3]]), 0.03, 0.6, 1.0))
    photos = photos_of(rows, cameras)
    found = floaters(rows, RENDER, photos)
    assert found.near[-1] and not found.rows[:-1].any()


def test_masked_pixels_do_not_speak() -> None:
    cameras = looking_at_the_wall(-0.3, -0.1, 0.1, 0.3)
    rows = joined(wall(), blobs(torch.tensor([[0.0, 0.0, 2.0]]), 0.1, 0.9, 1.0))
    photos = photos_of(rows, cameras)
    masked = [replace(p, mask=torch.zeros(60, 80, dtype=torch.uint8)) for p in photos]
    assert not floaters(rows, RENDER, photos).rows.any()
    assert floaters(rows, RENDER, masked).rows[-1]


def test_nothing_to_look_at_or_from() -> None:
    nobody = floaters(wall(), RENDER, [])
    assert not nobody.rows.any() and nobody.share == 0 and nobody.views == 0
    nothing = wall().take(torch.zeros(0, dtype=torch.int64))
    assert len(floaters(nothing, RENDER, looking_at_the_wall(0.0)).rows) == 0
    away = torch.diag(torch.tensor([-1.0, 1, -1, 1]))
    turned = [replace(looking_at_the_wall(0.0)[0], world_to_camera=away)]
    assert not floaters(wall(), RENDER, turned).rows.any()


def test_no_more_than_so_many_go() -> None:
    near = torch.tensor([True, False, False, True, False])
    free = torch.tensor([False, True, False, False, True])
    found = Verdict(near, free, torch.tensor([1.0, 5, 9, 4, 2]), 1)
    assert found.at_most(2).rows.tolist() == [False, True, False, True, False]
    assert found.at_most(9).rows.tolist() == found.rows.tolist() and not found.at_most(0).rows.any()
    assert found.share == pytest.approx(100 * 12 / 21)


def on_disk(path: Path, rows: Gaussians) -> Path:
    harmonics = sh_from_rgb(rows.colors)[:, None]
    formats.write(replace(rows, colors=harmonics, sh_degree=0), path, drawing=Drawing(near=0.01))
    return path


@pytest.mark.parametrize(("share", "most"), [(0.5, 40), (0.001, 9)])
def test_the_part_drops_them(
    haunted: tuple[Gaussians, int, list[Batch]],
    tiny_folder: Path,
    tmp_path: Path,
    share: float,
    most: int,
) -> None:
    rows, n, _ = haunted
    start = on_disk(tmp_path / "a.ply", rows)
    strategy = Floaters(Fixed(), at=(1,), share=share, views=0)
    with closing(job_of(tiny_folder, strategy, steps=2, init=start, clear_air=False)) as job:
        train(job.run)
        gone = len(rows) - len(job.run.model.cloud)
    if share == 0.001:
        assert gone == int(share * len(rows)) <= most
    else:
        assert 30 <= gone <= 40 + 0.02 * n


def test_the_part_moves_them_where_the_method_moves_rows(
    haunted: tuple[Gaussians, int, list[Batch]], tiny_folder: Path, tmp_path: Path
) -> None:
    rows, _, _ = haunted
    start = on_disk(tmp_path / "a.ply", rows)
    base = Mcmc(cap=len(rows), noise=0.0, refine_from=5000)
    strategy = Floaters(base, at=(1,), share=0.5, views=0)
    assert "move floaters" in strategy.acts(10) and strategy.recycles
    with closing(job_of(tiny_folder, strategy, steps=1, init=start, clear_air=False)) as job:
        before = job.run.model.cloud["mean"].detach().clone()
        train(job.run)
        after = job.run.model.cloud["mean"].detach()
    assert len(after) == len(before)
    assert 20 <= int(((after - before).norm(dim=1) > 0.02).sum()) <= 60


def test_the_part_acts_at_its_steps_only() -> None:
    part = Floaters()
    assert part.acts(30_000) == {"drop floaters": [9_000, 15_000, 21_000, 27_000]}
    short = part.scheduled(3_000)
    assert isinstance(short, Floaters) and short.views == 15
    assert short.acts(3_000) == {"drop floaters": [900, 1_500, 2_100, 2_700]}
    assert part.scheduled(200).views == 6  # type: ignore[attr-defined]
    assert not refined(Floaters(at=(100,)), step_of(model_of(3), 99))


def test_anchors_do_not_float(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="are anchors; leave it out"):
        job_of(tiny_folder, Floaters(Scaffold()), steps=1)


def test_a_run_says_its_score_and_is_cleaned(
    splat: Splat, haunted: tuple[Gaussians, int, list[Batch]], tiny_folder: Path
) -> None:
    rows, n, _ = haunted
    start = on_disk(Path("start.ply"), rows)
    asked = ("--steps", 1, "--init", start, "--near", 0.01, "--quiet", "fixed")
    assert splat("train", tiny_folder, "--out", "run", *asked).code == 0
    found = json.loads(Path("run/metrics.json").read_text())["floaters"]
    assert found["rows"] >= 20 and found["percent"] > 1 and found["views"] == 10
    done = splat("clean", "run", "-o", "b.ply", "--quiet", "--json")
    assert done.code == 0, done.said
    said = json.loads(done.out)
    assert said["reasons"]["near"] >= 5 and said["reasons"]["free space"] >= 15
    assert said["psnr"]["after"] > said["psnr"]["before"] + 0.2
    assert said["left"] == len(formats.read("b.ply")) >= 0.9 * n
    told = splat("clean", "run", "--dry-run", "--quiet").out
    assert "PSNR on 10 views that were trained on" in told and "free space" in told
    # Of a file cameras say it, without photos, or do not.
    of_file = ("clean", "start.ply", "--dry-run", "--json", "--quiet")
    cameras = ("--cameras", "run/cameras.json")
    assert "near" not in json.loads(splat(*of_file).out)["reasons"]
    assert "near" not in json.loads(splat(*of_file, *cameras, "--views", 0).out)["reasons"]
    alone = json.loads(splat(*of_file, *cameras).out)
    assert alone["reasons"]["free space"] >= 5 and "psnr" not in alone
    again = json.loads(splat("eval", "run", "--json", "--net", "none", "--quiet").out)
    assert again["floaters"] == found
