"""Levels of detail: trees, merging, and what is drawn of them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from formats import matched, some, turned_by
from torch import Tensor

from splat import formats
from splat.core.frame import gaussians_from_frame
from splat.export.retrain import LevelTraining
from splat.formats import lod, ply
from splat.lod.choose import chosen_levels, distances, leaves_in_frustum
from splat.lod.levels import (
    FEWEST,
    RATIO,
    Levels,
    coarser_counts,
    levels_of_rows,
    rows_by_leaf,
)
from splat.lod.merge import MOST_OPAQUE, masses, merged, shown_area
from splat.lod.store import Store, store_of
from splat.lod.tree import cut_order, depth_for, group_cuts, halving_order, leaf_order, starts_of
from splat.math import covariances
from splat.render.native import NativeRenderer
from splat.types import Camera, Drawing, Frame, Gaussians, Needs
from splat.viewer.layers import FEWEST as FEWEST_DRAWN
from splat.viewer.layers import Layered
from splat.viewer.source import Still

pytest.importorskip("PIL")
LEAF = 256


def levels_of(gaussians: Gaussians, leaf: int = LEAF) -> tuple[Gaussians, Levels]:
    """A set in the order of its leaves, and its levels."""
    there = gaussians.take(rows_by_leaf(gaussians.means, leaf))
    rows = torch.arange(len(there))
    return there, levels_of_rows(
        len(there), lambda low, high: there.take(rows[low:high]), leaf, threads=2
    )


def store_for(gaussians: Gaussians, leaf: int = LEAF) -> Store:
    rows = torch.arange(len(gaussians))

    def part(low: int, high: int) -> Gaussians:
        return gaussians.take(rows[low:high])

    return store_of(len(gaussians), part, None, "the set", leaf)


def ground(n: int = 4000, seed: int = 0) -> Gaussians:
    """Small Gaussians scattered over a square of 20 units, half of them in one corner."""
    draw = torch.Generator().manual_seed(seed)
    means = torch.rand(n, 3, generator=draw) * torch.tensor([20.0, 0.2, 20.0])
    means[: n // 2] *= torch.tensor([0.2, 1.0, 0.2])
    found = replace(some(n, degree=1, seed=seed), means=means)
    return replace(found, scales=0.03 * torch.ones(n, 3))


def camera_at(eye: tuple[float, float, float], width: int = 120, height: int = 80) -> Camera:
    """Looks along +z from a place."""
    pose = torch.eye(4)
    pose[:3, 3] = -torch.tensor(eye)
    K = torch.tensor([[100.0, 0, width / 2], [0, 100.0, height / 2], [0, 0, 1]])
    return Camera(pose, K, width, height)


@pytest.mark.parametrize("n", [1, 2, 7, 256, 257, 1000, 70_001])
def test_every_row_is_in_exactly_one_leaf(n: int) -> None:
    positions = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    positions[: n // 3] = 0.5  # many at one place
    depth = depth_for(n, LEAF)
    order, starts = leaf_order(positions, depth), starts_of(n, depth)
    assert np.array_equal(np.sort(order), np.arange(n))
    counts = np.diff(starts)
    assert counts.sum() == n and counts.max() <= LEAF and counts.max() - counts.min() <= 1
    # The two halves of the whole lie on either side of a plane.
    half = starts_of(n, min(1, depth))
    parts = [positions[order[low:high]] for low, high in pairwise(half)]
    if len(parts) == 2:
        axis = int((positions.max(0) - positions.min(0)).argmax())
        assert parts[0][:, axis].max() <= parts[1][:, axis].min()


def test_a_tree_is_the_same_however_it_is_cut() -> None:
    positions = np.random.default_rng(3).normal(size=(5000, 3)).astype(np.float32)
    at_once = halving_order(np.ascontiguousarray(positions.T), 4)
    first = halving_order(np.ascontiguousarray(positions.T), 2)
    cuts = [starts_of(5000, level) for level in (2, 3)]
    then = first[cut_order(np.ascontiguousarray(positions[first].T), cuts)]
    starts = starts_of(5000, 4)
    for low, high in pairwise(starts):
        assert set(at_once[low:high]) == set(then[low:high])


def test_groups_of_a_leaf_are_equal_to_a_row_and_nested() -> None:
    # Leaves of 10 and 11 rows; 3 nodes each, halved once: nodes of 1 and 2, then 3, then 6 groups.
    cuts = [each.tolist() for each in group_cuts(np.array([0, 10, 21]), 3, 1)]
    assert cuts == [
        [0, 10, 21],
        [0, 3, 10, 13, 21],
        [0, 3, 6, 10, 13, 17, 21],
        [0, 1, 3, 5, 6, 8, 10, 11, 13, 15, 17, 19, 21],
    ]
    for before, after in pairwise(cuts):
        assert set(before) <= set(after)


@pytest.mark.parametrize("n", [64, 1000, 30_000, 40_000, 60_000, 1_000_003])
def test_a_level_has_a_quarter_of_the_rows(n: int) -> None:
    counts = coarser_counts(n)
    leaves = 1 << depth_for(n, 8192)
    assert 0.94 * n / RATIO - leaves <= counts[0] * leaves <= n / RATIO
    assert FEWEST <= counts[-1] < RATIO * FEWEST
    assert all(a == RATIO * b for a, b in pairwise(counts))


def test_two_equal_balls_become_what_the_formula_says() -> None:
    # Two balls of deviation 1, two apart along x: variance 1 + 1 along x and 1 across. The mass is
    # 2 x 0.4 x 1, and the merged ellipsoid of half axes sqrt(2), 1, 1 shows an area of
    # ((2 * sqrt(2)^p + 1) / 3)^(1/p) with p = 1.6075.
    pair = Gaussians(
        means=torch.tensor([[4.0, 5, 6], [6, 5, 6]]),
        quats=torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, -0.5, 0.5]]),
        scales=torch.ones(2, 3),
        opacities=torch.tensor([0.4, 0.4]),
        colors=torch.tensor([[[1.0, 0, 0]], [[0, 0, 1.0]]]),
        sh_degree=0,
    )
    one = merged(pair, torch.tensor([[0, 1]]))
    assert one.means[0].tolist() == pytest.approx([5, 5, 6])
    found = covariances(one.quats, one.scales)[0]
    torch.testing.assert_close(found, torch.diag(torch.tensor([2.0, 1, 1])), atol=1e-6, rtol=0)
    assert one.colors[0, 0].tolist() == pytest.approx([0.5, 0, 0.5])
    area = ((2 * 2 ** (1.6075 / 2) + 1) / 3) ** (1 / 1.6075)
    assert float(one.opacities) == pytest.approx(0.8 / area, rel=1e-6)


def test_moments_are_those_of_the_mixture() -> None:
    given = some(500, degree=2, seed=5)
    members = torch.arange(500).view(-1, 5)
    there = torch.ones(100, 5, dtype=torch.bool)
    there[:, 4] = torch.arange(100) % 2 == 0
    one = merged(given, members, there)
    weight = masses(given)[members] * there
    share = (weight / weight.sum(1, keepdim=True))[..., None]
    mean = (share * given.means.double()[members]).sum(1)
    own = covariances(given.quats.double(), given.scales.double())[members]
    second = own + given.means.double()[members, :, None] * given.means.double()[members, None]
    wanted = (share[..., None] * second).sum(1) - mean[:, :, None] * mean[:, None]
    found = covariances(one.quats.double(), one.scales.double())
    torch.testing.assert_close(one.means.double(), mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    colors = (share[..., None] * given.colors.double()[members]).sum(1)
    torch.testing.assert_close(one.colors.double(), colors, atol=1e-5, rtol=1e-5)


def test_a_gaussian_alone_is_itself() -> None:
    given = some(200, degree=3, seed=8)
    again = merged(given, torch.arange(200)[:, None])
    torch.testing.assert_close(again.means, given.means)
    torch.testing.assert_close(again.opacities, given.opacities, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        covariances(again.quats.double(), again.scales.double()),
        covariances(given.quats.double(), given.scales.double()),
        atol=1e-6,
        rtol=1e-4,
    )


def test_the_area_shown_is_that_of_the_mean_direction() -> None:
    # By quadrature: of a direction d the outline has the area pi sqrt(sum (d_i s_j s_k)^2).
    scales = torch.tensor([[1.0, 1, 1], [2, 1, 0.5], [1, 1, 0.001], [3, 0.1, 0.1]])
    draw = torch.Generator().manual_seed(0)
    d = torch.nn.functional.normalize(torch.randn(200_000, 3, generator=draw), dim=1)
    a, b, c = scales.unbind(1)
    across = torch.stack([b * c, a * c, a * b], 1)
    mean = (d.square() @ across.square().T).sqrt().mean(0)
    torch.testing.assert_close(shown_area(scales), mean, rtol=0.015, atol=0)


def test_coarser_levels_keep_the_mass() -> None:
    given = replace(ground(), opacities=0.02 * torch.ones(4000))
    _, levels = levels_of(given)
    whole = float(masses(given).sum())
    assert len(levels.coarser) >= 1
    for level in levels.coarser:
        assert bool((level.opacities < MOST_OPAQUE).all())
        assert float(masses(level).sum()) == pytest.approx(whole, rel=1e-4)
    # Where all are opaque there is no more than all of it, and not much less.
    _, levels = levels_of(replace(given, opacities=torch.ones(4000)))
    kept = float(masses(levels.coarser[0]).sum()) / (50 * whole)
    assert 0.5 < kept <= 1 + 1e-6


def test_levels_cover_what_they_stand_for() -> None:
    there, levels = levels_of(ground(5000, seed=2), leaf=1000)
    counts = levels.counts
    assert counts[0].sum() == 5000 and bool((counts[-1] >= FEWEST).all())
    assert all(
        int(a) == RATIO * int(b) for a, b in zip(counts[1:-1, 0], counts[2:, 0], strict=True)
    )
    sources: list[Tensor] = []
    for number, level in enumerate(levels.coarser, 1):
        for leaf in range(len(levels)):
            rows = levels.rows(number, leaf)
            inside = (level.means[rows] >= levels.low[leaf] - 1e-5) & (
                level.means[rows] <= levels.high[leaf] + 1e-5
            )
            assert bool(inside.all())
            assert level.source is not None
            found = levels.rows(0, leaf)
            source = level.source[rows]
            assert bool(((source >= found.start) & (source < found.stop)).all())
            sources.append(source)
    assert bool((levels.errors[0] == 0).all()) and bool((levels.errors.diff(dim=0) >= 0).all())
    assert float(there.scales.max()) <= float(levels.reach.max())


def test_boxes_hold_what_was_refined() -> None:
    there, levels = levels_of(ground(3000))
    moved = levels.refined(
        there, lambda finest, rows: replace(rows, means=rows.means + 1, scales=2 * rows.scales)
    )
    torch.testing.assert_close(moved.coarser[0].means, levels.coarser[0].means + 1)
    assert moved.coarser[0].source is levels.coarser[0].source
    assert torch.equal(moved.low, levels.low) and bool((moved.high > levels.high).any())
    assert float(moved.reach.max()) == 2 * max(float(x.scales.max()) for x in levels.coarser)
    with pytest.raises(ValueError, match="expected as many"):
        levels.refined(there, lambda finest, rows: finest)


def ball(n: int = 800) -> Gaussians:
    """Small Gaussians all over a sphere, with colours that change smoothly."""
    means = 2 * torch.nn.functional.normalize(some(n, degree=0, seed=3).means, dim=1)
    found = replace(some(n, degree=1, seed=3), means=means, scales=0.12 * torch.ones(n, 3))
    found.colors[:, 0] = (2 * means).sin()
    found.colors[:, 1:] *= 0.1
    return replace(found, opacities=0.7 * torch.ones(n))


def refined_by_training(steps: int) -> tuple[Levels, Levels, Gaussians]:
    """Levels of a set in front of cameras, merged and trained."""
    there, levels = levels_of(ball())
    training = LevelTraining(eyes(), Drawing(), None, "cpu", steps=steps)
    return levels, levels.refined(there, training), there


def eyes() -> list[Camera]:
    """Cameras on many sides of the origin, which they look at."""
    looks = torch.nn.functional.normalize(some(9, degree=0, seed=7).means, dim=1)
    found = []
    for ahead in looks:
        right = torch.nn.functional.normalize(torch.linalg.cross(ahead, ahead.roll(1)), dim=0)
        pose = torch.eye(4)
        pose[:3, :3] = torch.stack([right, torch.linalg.cross(ahead, right), ahead])
        pose[2, 3] = 5.0
        K = torch.tensor([[44.0, 0, 24], [0, 44.0, 24], [0, 0, 1]])
        found.append(Camera(pose, K, 48, 48))
    return found


def test_training_brings_levels_closer_to_the_finest() -> None:
    render, (levels, trained, there) = NativeRenderer(), refined_by_training(300)

    def error(rows: Gaussians) -> float:
        off = [render(rows, c).image - render(there, c).image for c in eyes()]
        return float(torch.stack(off).square().mean())

    fresh = levels_of(ball())[1].coarser
    assert all(torch.equal(a.quats, b.quats) for a, b in zip(levels.coarser, fresh, strict=True))
    errors = [[error(level) for level in each.coarser] for each in (levels, trained)]
    assert all(after < 0.6 * before for before, after in zip(*errors, strict=True)), errors
    again = refined_by_training(300)[1]
    for one, two in zip(trained.coarser, again.coarser, strict=True):
        assert torch.equal(one.means, two.means) and torch.equal(one.colors, two.colors)


def test_what_hangs_before_a_plain_wall_goes_though_no_picture_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    across = torch.linspace(-3, 3, 25)
    x, y = (each.flatten() for each in torch.meshgrid(across, across, indexing="ij"))
    flat = replace(
        some(625, degree=0, seed=1),
        means=torch.stack([x, y, torch.zeros(625)], 1),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(625, 4).clone(),
        scales=torch.tensor([0.25, 0.25, 0.01]).expand(625, 3).clone(),
        opacities=torch.full((625,), 0.95),
        colors=torch.zeros(625, 1, 3),
    )
    veiled = flat.take(torch.arange(625))
    veiled.means[312] = torch.tensor([0.0, 0.0, -2.0])
    cameras = [standing_at(place) for place in (-0.5, 0.0, 0.5)]
    render = NativeRenderer()

    def off(rows: Gaussians) -> float:
        """Depth drawn in the middle of the picture, beside that of the wall."""
        depth = render(rows, cameras[1], Needs(depth=True)).depth
        assert depth is not None
        return abs(float(depth[24, 24]) - 5)

    def trained() -> Gaussians:
        return LevelTraining(cameras, Drawing(), None, "cpu", steps=300)(flat, veiled)

    assert off(flat) < 0.05 and off(veiled) > 1
    assert off(trained()) < 0.25
    monkeypatch.setattr("splat.export.retrain.DEPTH_WEIGHT", 0.0)
    assert off(trained()) > 0.8


def standing_at(place: float) -> Camera:
    """A camera 5 before the wall z = 0, which it faces, a little to the side."""
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([-place, 0.0, 5.0])
    return Camera(pose, torch.tensor([[44.0, 0, 24], [0, 44.0, 24], [0, 0, 1]]), 48, 48)


def test_trained_rows_stay_those_of_their_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splat.loop.ORDER_EVERY", 2)  # rows are sorted in memory several times
    levels, trained, _ = refined_by_training(7)
    for before, after in zip(levels.coarser, trained.coarser, strict=True):
        moved = (after.means - before.means).norm(dim=1)
        nearest = torch.cdist(before.means, before.means).fill_diagonal_(9).amin(1)
        assert float((moved < nearest).float().mean()) > 0.9


def test_any_number_of_threads_builds_the_same() -> None:
    given = some(70_000, degree=0)
    there = given.take(rows_by_leaf(given.means, 512))
    rows = torch.arange(len(there))
    one, two = (
        levels_of_rows(70_000, lambda low, high: there.take(rows[low:high]), 512, threads=threads)
        for threads in (1, 2)
    )
    for a, b in zip(one.coarser, two.coarser, strict=True):
        assert torch.equal(a.means, b.means) and torch.equal(a.quats, b.quats)
        assert torch.equal(a.colors, b.colors) and torch.equal(a.opacities, b.opacities)


EYES = [(10.0, -1.0, -6.0), (2.0, 0.1, 2.0), (19.0, -0.5, 10.0), (10.0, 0.1, 30.0)]


@pytest.mark.parametrize("eye", EYES)
def test_what_is_culled_would_not_have_shown(eye: tuple[float, float, float]) -> None:
    given = ground(6000)
    # Some reach far: their leaf may not be left out for where its centres are.
    given.scales[::500] = torch.tensor([3.0, 0.01, 0.4])
    store = store_for(given)
    camera, render = camera_at(eye), NativeRenderer()
    culled = store.view(camera, 0.01, len(given))
    assert eye[2] < 20 or len(culled) < len(given)
    assert len(culled) < len(given) or eye == EYES[0]
    a = render(store.whole(), camera)
    b = render(culled, camera)
    assert torch.equal(a.image, b.image) and torch.equal(a.alpha, b.alpha)
    assert int((a.radii > 0).sum()) == int((b.radii > 0).sum())


def test_levels_grow_coarser_with_distance() -> None:
    store = store_for(ground(20_000))
    shown = torch.ones(len(store.levels), dtype=torch.bool)
    camera = camera_at((10.0, -2.0, -40.0))
    # Of leaves that are alike in error: the further, the coarser.
    errors = store.levels.errors[:, :1].expand_as(store.levels.errors).contiguous()
    alike = replace(store.levels, errors=errors)
    for budget in (1000, 5000, 15_000):
        found = chosen_levels(alike, shown, camera, budget)
        order = distances(alike, camera).argsort()
        assert bool((found[order].diff() >= 0).all()) and int(found.max()) > 0
    # And each leaf by itself, as the camera goes away from it with errors allowed as before.
    before = torch.zeros(len(shown), dtype=torch.int64)
    for away in (10.0, 40.0, 160.0, 640.0):
        camera = camera_at((10.0, -2.0, -away))
        off = 100.0 * store.levels.errors.double() / distances(store.levels, camera)
        level = (off <= 0.5).sum(0) - 1
        assert bool((level >= before).all())
        before = level


def test_a_budget_is_kept_and_used() -> None:
    store = store_for(ground(20_000))
    camera = camera_at((10.0, -2.0, -12.0))
    sizes = [len(store.view(camera, 0.01, budget)) for budget in (5000, 8000, 12_000, 100_000)]
    shown = leaves_in_frustum(store.levels, camera, 0.01)
    assert sizes[-1] == int(store.levels.counts[0][shown].sum())
    for size, budget in zip(sizes[:3], (5000, 8000, 12_000), strict=True):
        assert 0.6 * budget < size <= budget
    # No budget is too small: the coarsest levels are what is left.
    assert len(store.view(camera, 0.01, 1)) == int(store.levels.counts[-1][shown].sum())
    assert len(store.view(camera_at((10.0, 0.0, 90.0)), 0.01, 100)) == 0


def test_coarser_levels_look_like_the_whole_from_afar() -> None:
    store = store_for(ground(20_000))
    camera, render = camera_at((10.0, -3.0, -30.0)), NativeRenderer()
    whole = render(store.whole(), camera).image
    errors = [
        float((render(store.view(camera, 0.01, budget), camera).image - whole).square().mean())
        for budget in (1500, 6000, 20_000)
    ]
    assert errors[0] > errors[1] > errors[2] == 0
    assert errors[1] < 0.1 * float((whole - whole.mean((0, 1))).square().mean())


def test_a_large_file_is_read_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("splat.lod.store._PART", 300)
    given = some(1000, degree=3)
    formats.write(given, tmp_path / "a.ply")
    data = bytearray((tmp_path / "a.ply").read_bytes())
    row = (len(data) - data.index(b"end_header\n") - 11) // 1000
    data[-row : -row + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "a.ply").write_bytes(data)
    rows = ply.Opened(tmp_path / "a.ply")
    frame = Frame((1.0, 2.0, 3.0), 0.5)
    store = store_of(len(rows), rows.part, lambda means: frame, "a.ply", LEAF)
    assert "a.ply: 1 of 1000 Gaussians" in caplog.text
    whole = gaussians_from_frame(store.whole(), frame)
    like = formats.read(tmp_path / "a.ply")
    found = matched(whole, like)
    assert len(found) == 999
    torch.testing.assert_close(found.means, like.means, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.scales, like.scales)
    torch.testing.assert_close(found.colors, like.colors, atol=1e-3, rtol=1e-3)
    assert float(turned_by(found.quats, like.quats).max()) < 1e-3


def test_a_picture_of_layers_is_that_of_the_whole_where_all_fits() -> None:
    given = ground(3000)
    store, render = store_for(given), NativeRenderer()
    frame = Frame((0.0, 0.0, 0.0), 1.0)
    about: dict[str, Any] = dict(name="x", frame=frame, render=render, drawing=Drawing())
    layers, still = Layered(store, **about), Still(store.whole(), **about)
    camera = camera_at((10.0, -1.0, -6.0))
    assert layers.count == 3000 <= FEWEST_DRAWN
    shown = layers.gaussians(camera)
    assert torch.equal(render(shown, camera).image, render(still.gaussians(camera), camera).image)
    assert torch.equal(layers.baked().means[layers.rows_of(shown)], shown.means)


@pytest.mark.parametrize("name", ["a.ply", "a.compressed.ply", "a.spz"])
def test_view_draws_large_files_in_layers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from splat.cli import view

    path = tmp_path / name
    formats.write(some(600, degree=1), path)
    asked = view.View((path,), device="cpu")
    small = view._source(path, asked)
    assert type(small) is Still
    monkeypatch.setattr("splat.cli.view.MANY", 599)
    layers = view._source(path, asked)
    assert isinstance(layers, Layered) and layers.count == 600
    assert layers.frame == small.frame and layers.background is None
    camera = camera_at((0.0, 0.0, -3.0))
    one, two = (
        source.render(source.gaussians(camera), camera, background=source.background).image
        for source in (small, layers)
    )
    # Harmonics are halved in precision, and rows of one depth may come in another order.
    torch.testing.assert_close(one, two, atol=4e-3, rtol=0)
    assert float(one.std()) > 0.05


def test_convert_trains_levels_from_cameras(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from splat.cli.convert import main

    formats.write(some(300, degree=0, seed=3), tmp_path / "a.ply")
    (tmp_path / "cameras.json").write_text(
        json.dumps(
            {
                "cameras": [
                    {
                        "world_to_camera": camera.world_to_camera.tolist(),
                        "K": camera.K.tolist(),
                        "width": camera.width,
                        "height": camera.height,
                    }
                    for camera in eyes()
                ]
            }
        )
    )
    given = [str(tmp_path / "a.ply"), "--cameras", str(tmp_path / "cameras.json"), "--json"]
    for name, steps in (("merged", "0"), ("trained", "20")):
        assert main([*given, str(tmp_path / name / "lod-meta.json"), "--level-steps", steps]) == 0
    one, two = (lod.read_level(tmp_path / n / "lod-meta.json", 1) for n in ("merged", "trained"))
    assert len(one) == len(two) == 72  # 18 at the coarsest level, four times as many
    assert not torch.allclose(one.colors, two.colors, atol=0.01)
    capsys.readouterr()
    for command, name, steps, says in (
        (given, "b.spz", "20", "b.spz holds no levels of detail"),
        (given, "c/lod-meta.json", "-1", "level-steps is -1"),
        (given[:1], "c/lod-meta.json", "20", "there are no cameras"),
    ):
        words = [word for word in command if word != "--json"]
        with pytest.raises(ValueError, match=says):
            main([*words, str(tmp_path / name), "--level-steps", steps])
