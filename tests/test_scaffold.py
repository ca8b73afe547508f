"""Scaffold-GS: its grids, where anchors grow and go, what is counted of them, photos' codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from steps import CAMERA, assert_consistent, fill_moments, refined, step_of
from torch import Tensor

from splat.core.edit import Edit
from splat.core.fields import statistic_shapes
from splat.core.model import Making
from splat.core.score import survey
from splat.core.step import Step
from splat.core.strategy import Wrapper
from splat.render.native import NativeRenderer
from splat.strategies.blur import BlurSplit
from splat.strategies.protect import Protect
from splat.strategies.scaffold import Scaffold
from splat.strategies.scaffold.anchors import Anchored
from splat.strategies.scaffold.density import GRADIENT, OPACITY, SEEN, VISITS
from splat.strategies.scaffold.grid import FARTHEST, cells, cells_of, centres, keys, unique
from splat.strategies.scaffold.growth import Level, Pull, grown, levels
from splat.strategies.scaffold.networks import Networks
from splat.strategies.scaffold.volume import Volume
from splat.strategies.significance import Significance
from splat.types import Batch, Camera, Frame, Gaussians, PixelMap, Surveyed

GRID = Level(side=0.25, threshold=2e-4, keep=0.5)
EMPTY = torch.empty(0, dtype=torch.int64)


def model_at(points: Sequence[Sequence[float]] | Tensor, **options: Any) -> Anchored:
    """Anchors that begin at points, tracked as the strategy does."""
    strategy = Scaffold(**{"voxel": 0.01, "slots": 4, "features": 2, **options})
    model = strategy.model({"mean": torch.as_tensor(points)}, Making(steps=30_000))
    assert isinstance(model, Anchored)
    strategy.begin(model)
    return model


def bare(model: Anchored, done: int, **more: Any) -> Step:
    """A step in which nothing was drawn."""
    return step_of(model, done, source=EMPTY, **more)


def drawn(
    model: Anchored,
    done: int,
    source: Sequence[int],
    opacity: Sequence[float],
    *,
    visible: Sequence[bool] | None = None,
    gradient: Sequence[Sequence[float]] | None = None,
) -> Step:
    """A step in which these slots made Gaussians; gradients in half pictures."""
    n = len(source)
    step = step_of(
        model,
        done,
        source=torch.tensor(source),
        visible=None if visible is None else torch.tensor(visible),
        gradient=None if gradient is None else torch.tensor(gradient),
    )
    gaussians = Gaussians(
        torch.zeros(n, 3), torch.ones(n, 4), torch.ones(n, 3), torch.tensor(opacity),
        torch.zeros(n, 3), source=torch.tensor(source),
    )  # fmt: skip
    return replace(step, rendered=replace(step.rendered, gaussians=gaussians))


def spread(n: int, apart: float = 1.0) -> Tensor:
    """Points on a line."""
    return torch.arange(n).float()[:, None] * torch.tensor([[apart, 0, 0]])


# The grid


def test_keys_are_of_cells_and_back() -> None:
    draw = torch.Generator().manual_seed(0)
    numbers = torch.randint(-FARTHEST, FARTHEST + 1, (1000, 3), generator=draw)
    corners = torch.tensor([[0, 0, 0], [-1, -1, -1], [FARTHEST] * 3, [-FARTHEST] * 3, [-1, 0, 1]])
    numbers = torch.cat([numbers, corners])
    assert torch.equal(cells_of(keys(numbers)), numbers)
    assert (keys(numbers) >= 0).all()
    order = sorted(range(len(numbers)), key=lambda i: numbers[i].tolist())
    assert keys(numbers).argsort().tolist() == order
    assert unique(torch.tensor([[3, -2, 0], [-3, 5, 1], [3, -2, 0]])).tolist() == [
        [-3, 5, 1],
        [3, -2, 0],
    ]


def test_a_cell_is_the_nearest_middle() -> None:
    points = torch.tensor([[0.93, -0.26, 0.6], [-0.12, -0.13, 0.13], [9e9, -9e9, 0]])
    found = cells(points, 0.25)
    assert found.tolist() == [[4, -1, 2], [0, -1, 1], [FARTHEST, -FARTHEST, 0]]
    assert torch.equal(centres(found[:2], 0.25), torch.tensor([[1, -0.25, 0.5], [0, -0.25, 0.25]]))


# The start


def test_anchors_begin_in_the_cells_that_hold_points() -> None:
    points = [[0.1, 0, 0], [-0.1, 0.2, 0], [0.6, 0, 0], [0.4, 0.1, -0.1], [-1.3, 0, 0]]
    model = model_at(points, voxel=0.5)
    cloud = model.cloud
    assert cloud["anchor"].tolist() == [[-1.5, 0, 0], [0, 0, 0], [0.5, 0, 0]]
    # Three cells: the two others are nearest neighbours, so sizes are roots of mean squares.
    sizes = [math.sqrt((a * a + b * b) / 2) for a, b in ((1.5, 2), (1.5, 0.5), (0.5, 2))]
    assert torch.allclose(cloud["reach"].exp(), torch.tensor(sizes)[:, None].expand(3, 6))
    assert not cloud["offset"].any() and cloud["offset"].shape == (3, 4, 3)
    assert not cloud["feature"].any() and cloud["feature"].shape == (3, 2)
    assert cloud.rate("anchor", 0) == 0


def test_the_voxel_is_the_median_distance_between_neighbours() -> None:
    line = torch.tensor([[0.0], [1], [3], [6], [10]]) * torch.tensor([[0.0, 1, 0]])
    assert model_at(line, voxel=0.0).voxel == pytest.approx(2)
    # Points in one place tell nothing of how far others are.
    same = torch.cat([line, line[:1].expand(9, 3)])
    assert model_at(same, voxel=0.0).voxel == pytest.approx(2)
    assert model_at(line[:1], voxel=0.0).voxel == 1


def test_where_a_run_starts_at_random_the_voxel_is_a_pixel() -> None:
    """Focal lengths 50 and 100, depths 2, 4, 6 and those less 1: sides of 4 / 50 and 3 / 100."""
    line = torch.tensor([[0.0, 0, 2], [0, 0, 4], [0, 0, 6], [0, 0, -9]])
    K = torch.tensor([[50.0, 0, 8], [0, 50, 8], [0, 0, 1]])
    near = torch.eye(4)
    near[2, 3] = -1
    views = [Camera(torch.eye(4), K, 16, 16), Camera(near, K * 2, 16, 16)]
    making = Making(steps=1, views=views, at_random=True)
    model = Scaffold().model({"mean": line}, making)
    assert model.voxel == pytest.approx((4 / 50 + 3 / 100) / 2)
    assert Scaffold().model({"mean": line}, replace(making, at_random=False)).voxel == 2
    assert Scaffold(voxel=0.7).model({"mean": line}, making).voxel == pytest.approx(0.7)


def test_a_given_voxel_is_in_units_of_the_scene() -> None:
    making = Making(steps=10, frame=Frame((5.0, 0.0, 0.0), 0.5))
    model = Scaffold(voxel=0.1).model({"mean": spread(3)}, making)
    assert model.voxel == pytest.approx(0.05)
    found = Anchored(model.cloud.rows(torch.arange(3)), making, voxel=0.7)
    found.set_extra_state(model.get_extra_state())
    assert found.voxel == model.voxel, "a saved one is taken as it is"


# Growth


def pull(
    points: Sequence[Any] | Tensor,
    gradient: Sequence[Any] | Tensor,
    *,
    anchors: Tensor | None = None,
    features: Tensor | None = None,
    ready: Tensor | None = None,
) -> Pull:
    """Offsets [n, k, 3]; anchors far away if not given."""
    points, gradient = torch.as_tensor(points), torch.as_tensor(gradient)
    n = len(points)
    return Pull(
        torch.full((n, 3), 50.0) if anchors is None else anchors,
        points,
        torch.zeros(n, 1) if features is None else features,
        gradient,
        torch.ones_like(gradient, dtype=torch.bool) if ready is None else ready,
    )


def sure(pulled: Pull, grids: int = 1) -> Tensor:
    """Chances with which every candidate is kept."""
    return torch.ones(grids, *pulled.gradient.shape)


def scattered(n: int, k: int = 4, seed: int = 0) -> tuple[Pull, list[Level]]:
    """Anchors in some cells of the finest of three grids, their offsets all about."""
    draw = torch.Generator().manual_seed(seed)
    grids = levels(0.02, 2e-4, 3, 16, 4)
    anchors = centres(unique(cells(torch.rand(n, 3, generator=draw) - 0.5, 0.02)), 0.02)
    n = len(anchors)
    points = anchors[:, None] + 0.3 * torch.randn(n, k, 3, generator=draw)
    gradient = 1.2e-3 * torch.rand(n, k, generator=draw)
    ready = torch.rand(n, k, generator=draw) > 0.1
    return pull(points, gradient, anchors=anchors, ready=ready), grids


def test_the_three_grids() -> None:
    assert levels(0.01, 2e-4, 3, 16, 4) == [
        Level(0.16, 2e-4, 0.5),
        Level(0.04, 4e-4, 0.75),
        Level(0.01, 8e-4, 0.875),
    ]


def test_anchors_grow_into_empty_cells_only() -> None:
    pulled, grids = scattered(300)
    chances = torch.rand(3, *pulled.gradient.shape, generator=torch.Generator().manual_seed(3))
    born = grown(pulled, grids, chances)
    assert len(born) == 3 and all(len(append.parents) > 20 for append in born)
    taken = pulled.anchors
    for grid, append in zip(grids, born, strict=True):
        new = [tuple(cell) for cell in cells(append.rows["anchor"], grid.side).tolist()]
        old = {tuple(cell) for cell in cells(taken, grid.side).tolist()}
        assert len(set(new)) == len(new) and not old & set(new)
        taken = torch.cat([taken, append.rows["anchor"]])


def test_a_new_anchor_lies_in_the_middle_of_its_cell() -> None:
    point = torch.tensor([[[0.93, -0.26, 0.6]]])
    pulled = pull(point, [[1e-3]])
    (born,) = grown(pulled, [GRID], sure(pulled))
    assert torch.equal(born.rows["anchor"], torch.tensor([[1.0, -0.25, 0.5]]))
    side = 0.0137
    (born,) = grown(pulled, [replace(GRID, side=side)], sure(pulled))
    assert torch.equal(born.rows["anchor"], (point[0] / side).round() * side)


def test_what_a_new_anchor_begins_with() -> None:
    """Three offsets in one cell, one of them too weak to count, and one in another cell."""
    points = [[[0.0, 0, 0]], [[0.05, 0, 0]], [[0, 0.05, 0]], [[1, 0, 0]]]
    features = torch.tensor([[1.0, -2], [0, 5], [9, 9], [-3, -4]])
    pulled = pull(points, [[3e-4], [4e-4], [1e-4], [2e-4]], features=features)
    (born,) = grown(pulled, [GRID], sure(pulled))
    assert born.reason == "grow"
    assert born.rows["anchor"].tolist() == [[0, 0, 0], [1, 0, 0]]
    assert born.rows["feature"].tolist() == [[1, 5], [-3, -4]], "largest of what pulls"
    assert torch.allclose(born.rows["reach"], torch.full((2, 6), math.log(0.25)))
    assert born.rows["offset"].shape == (2, 1, 3) and not born.rows["offset"].any()
    assert born.parents.tolist() == [1, 3], "what pulls hardest"


def test_a_finer_grid_is_looked_at_only_after_a_birth() -> None:
    """An offset over both thresholds, in a coarse cell that has its anchor."""
    grids = [Level(1.0, 2e-4, 0.5), Level(0.25, 4e-4, 0.75)]
    points, anchors = torch.tensor([[[0.3, 0, 0]], [[3, 0, 0]]]), torch.zeros(2, 3)
    for other, places in ((1e-4, []), (3e-4, [[[3, 0, 0]], [[0.25, 0, 0]]])):
        pulled = pull(points, [[5e-4], [other]], anchors=anchors)
        born = grown(pulled, grids, sure(pulled, 2))
        assert [append.rows["anchor"].tolist() for append in born] == places


def test_what_grew_on_a_coarser_grid_takes_its_cell_on_a_finer_one() -> None:
    grids = [Level(1.0, 2e-4, 0.5), Level(0.25, 4e-4, 0.75)]
    pulled = pull([[[0.1, 0, 0], [0.3, 0, 0]]], [[5e-4, 5e-4]])
    first, second = grown(pulled, grids, sure(pulled, 2))
    assert first.rows["anchor"].tolist() == [[0, 0, 0]]
    assert second.rows["anchor"].tolist() == [[0.25, 0, 0]]


@pytest.mark.parametrize(("level", "keep"), [(0, 0.5), (1, 0.75), (2, 0.875)])
def test_candidates_are_thinned(level: int, keep: float) -> None:
    n = 100_000
    grid = levels(0.01, 2e-4, 3, 16, 4)[level]
    points = spread(n, 3 * grid.side)[:, None]
    pulled = pull(points, torch.ones(n, 1), anchors=torch.full((1, 3), -50.0))
    chances = torch.rand(1, n, 1, generator=torch.Generator().manual_seed(level))
    (born,) = grown(pulled, [grid], chances)
    assert len(born.parents) / n == pytest.approx(keep, abs=0.01)


def test_where_room_is_short_the_largest_gradients_get_it() -> None:
    gradient = torch.tensor([3e-4, 9e-4, 5e-4, 1e-4, 7e-4, 6e-4])
    pulled = pull(spread(6)[:, None], gradient[:, None])
    for room, parents in ((5, [0, 1, 2, 4, 5]), (3, [1, 4, 5]), (1, [1]), (0, []), (-4, [])):
        born = grown(pulled, [GRID], sure(pulled), room)
        assert [row for append in born for row in append.parents.tolist()] == parents
    pulled, grids = scattered(200)
    whole = [len(each.parents) for each in grown(pulled, grids, sure(pulled, 3))]
    for room in (whole[0], whole[0] + 5, sum(whole) - 1):
        some = [len(each.parents) for each in grown(pulled, grids, sure(pulled, 3), room)]
        assert some[0] == whole[0] and sum(some) == room


def test_the_order_of_rows_does_not_matter() -> None:
    pulled, grids = scattered(300)
    chances = torch.rand(3, *pulled.gradient.shape, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(len(pulled.anchors), generator=torch.Generator().manual_seed(2))
    mixed = Pull(**{name: values[order] for name, values in vars(pulled).items()})
    for room in (None, 40):
        one = grown(pulled, grids, chances, room)
        other = grown(mixed, grids, chances[:, order], room)
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a.rows["anchor"], b.rows["anchor"])
            assert torch.equal(a.rows["feature"], b.rows["feature"])
            assert torch.equal(a.parents, order[b.parents])


# Edits

JUDGED = 1600
"""A step of a run of 30,000 at which anchors are born and dropped."""


def restless(n: int, seen: float, **options: Any) -> Anchored:
    """Anchors whose offsets lie in free cells, pull hard, and were seen so often."""
    model = model_at(spread(n), **options)
    draw = torch.Generator().manual_seed(0)
    cloud = model.cloud
    with torch.no_grad():
        cloud["offset"].copy_(torch.randn(cloud["offset"].shape, generator=draw))
    cloud.statistic(SEEN).fill_(seen)
    cloud.statistic(GRADIENT).fill_(seen * 1e-2)
    cloud.statistic(VISITS).fill_(100)
    cloud.statistic(OPACITY).fill_(100)
    return model


def of(edit: Edit | None) -> Edit:
    assert edit is not None
    return edit


def test_nothing_grows_from_offsets_that_were_seen_too_little() -> None:
    assert of(Scaffold(slots=4).refine(bare(restless(20, 40), JUDGED))).append == ()
    model = restless(20, 41)
    change = refined(Scaffold(slots=4), bare(model, JUDGED))
    assert change.counts["append:grow"] > 50 and change.after == len(model.cloud)
    assert_consistent(model.cloud)


def test_growth_goes_by_the_mean_gradient_of_where_offsets_are() -> None:
    """One offset of four is over the threshold in the mean; the largest sum is not."""
    for seed in range(20):  # half of the candidates are kept
        model = restless(1, 50)
        with torch.no_grad():
            model.cloud["reach"][0, :3] = torch.tensor([0.3, 0.7, 2]).log()
        seen, gradient = model.cloud.statistic(SEEN), model.cloud.statistic(GRADIENT)
        seen[0] = torch.tensor([50.0, 500, 50, 50])
        gradient[0] = torch.tensor([2.1e-4 * 50, 1.9e-4 * 500, 1e-4 * 50, 0])
        edit = of(Scaffold(slots=4, grids=1).refine(bare(model, JUDGED, seed=seed)))
        if edit.append:
            break
    offset = model.cloud["offset"][0, 0] * model.cloud["reach"][0, :3].exp()
    side = 16 * 0.01
    place = ((model.cloud["anchor"][0] + offset) / side).round() * side
    assert torch.equal(edit.append[0].rows["anchor"], place[None])


def test_windows_end_for_what_was_judged_only() -> None:
    model = restless(3, 0)
    cloud = model.cloud
    cloud.statistic(VISITS).copy_(torch.tensor([30.0, 80, 81]))
    cloud.statistic(OPACITY).copy_(torch.tensor([3.0, 4, 5]))
    seen = torch.tensor([[30.0, 40, 41, 0]] * 3)
    cloud.statistic(SEEN).copy_(seen)
    cloud.statistic(GRADIENT).copy_(seen * 1e-6)
    refined(Scaffold(slots=4), bare(model, JUDGED))
    assert cloud.statistic(VISITS).tolist() == [30, 80, 0]
    assert cloud.statistic(OPACITY).tolist() == [3, 4, 0]
    assert cloud.statistic(SEEN).tolist() == [[30, 40, 0, 0]] * 3
    assert torch.allclose(cloud.statistic(GRADIENT), torch.tensor([[3e-5, 4e-5, 0, 0]] * 3))


def test_faint_anchors_that_were_seen_often_are_dropped() -> None:
    model = model_at(spread(5))
    cloud = model.cloud
    cloud.statistic(VISITS).copy_(torch.tensor([81.0, 80, 81, 200, 100]))
    cloud.statistic(OPACITY).copy_(torch.tensor([0.4, 0.0, 0.41, 0.9, 50]))
    edit = of(Scaffold(slots=4).refine(bare(model, JUDGED)))
    (drop,) = edit.drop
    assert drop.reason == "opacity" and drop.rows.tolist() == [0, 3]
    cloud.statistic(OPACITY).zero_()
    cloud.statistic(VISITS).fill_(100)
    assert refined(Scaffold(slots=4), bare(model, JUDGED)).after == 5, "one cannot drop all"


def test_there_are_never_more_anchors_than_the_cap() -> None:
    for cap, dead, born in ((25, 0, 5), (20, 0, 0), (22, 3, 5), (10, 0, 0)):
        model = restless(20, 100)
        model.cloud.statistic(OPACITY)[:dead] = 0
        change = refined(Scaffold(slots=4, cap=cap), bare(model, JUDGED))
        assert change.counts.get("append:grow", 0) == born
        assert change.counts.get("drop:opacity", 0) == dead
        assert change.after == 20 + born - dead <= max(cap, 20)


def test_large_gaussians_are_brought_back_and_keep_their_moments() -> None:
    model = model_at(spread(3))
    cloud = model.cloud
    with torch.no_grad():
        cloud["reach"].copy_(torch.tensor([[0.3] * 6, [0.04] * 6, [-1, 0.2, 0, 0.06, -1, 0.05]]))
    before = cloud["reach"].detach().clone()
    fill_moments(cloud)
    change = refined(Scaffold(slots=4), bare(model, JUDGED))
    assert not change.counts
    after, wanted = cloud["reach"].detach(), before.clone()
    wanted[:, 3:] = wanted[:, 3:].clamp_max(0.05)
    assert torch.allclose(after, wanted, atol=1e-7) and torch.equal(after[:, :3], before[:, :3])
    assert torch.equal(after[1], before[1])
    first, second = cloud.moments("reach")
    assert first[:, 0].tolist() == [1, 2, 3] and second[:, 5].tolist() == [2, 3, 4]
    assert of(Scaffold(slots=4).refine(bare(model_at(spread(3, 0.5)), JUDGED))).nudge == ()


def test_the_steps_of_edits() -> None:
    assert Scaffold().acts(30_000) == {"grow and prune": list(range(1600, 15_000, 100))}
    assert Scaffold().scheduled(30_000) == Scaffold()
    short = Scaffold().scheduled(3000)
    assert short.acts(3000) == {"grow and prune": list(range(200, 1500, 50))}
    assert (short.observe_from, short.refine_from, short.refine_until) == (50, 150, 1500)
    model = model_at(spread(3))
    due = [
        done
        for done in (100, 1500, 1599, 1600, 1601, 14_900, 15_000, 15_100)
        if Scaffold(slots=4).refine(bare(model, done)) is not None
    ]
    assert due == [1600, 14_900]


# What is counted


def test_what_is_counted_of_a_step() -> None:
    """Anchors 0 and 1 before the camera, 2 behind it; slots 1, 2 and 6 made Gaussians."""
    model = model_at([[0, 0, 1.0], [0.2, 0, 2], [0, 0, -3]])
    cloud = model.cloud
    with torch.no_grad():
        cloud["reach"].fill_(-5)
    near = int((cloud["anchor"][:, 2] - 1).abs().argmin())
    far = int((cloud["anchor"][:, 2] - 2).abs().argmin())
    behind = 3 - near - far
    slots = [4 * near + 1, 4 * near + 2, 4 * far + 2]
    strategy = Scaffold(slots=4)
    seen, gradient = [True, False, True], [[3.0, 4], [5, 12], [0, 2]]
    for _ in range(2):
        strategy.observe(
            drawn(model, 501, slots, [0.5, 0.25, 0.125], visible=seen, gradient=gradient)
        )
    opacity, visits = cloud.statistic(OPACITY), cloud.statistic(VISITS)
    assert [float(opacity[row]) for row in (near, far, behind)] == [1.5, 0.25, 0]
    assert [float(visits[row]) for row in (near, far, behind)] == [2, 2, 0]
    wanted = torch.zeros(12)
    wanted[slots] = torch.tensor([10.0, 0, 4])
    assert torch.allclose(cloud.statistic(GRADIENT).flatten(), wanted)
    wanted[slots] = torch.tensor([2.0, 0, 2])
    assert torch.equal(cloud.statistic(SEEN).flatten(), wanted)


def test_it_is_counted_while_it_matters() -> None:
    model = model_at([[0, 0, 1.0]])
    counted = []
    for done in (1, 500, 501, 14_999, 15_000):
        before = float(model.cloud.statistic(VISITS))
        Scaffold(slots=4).observe(drawn(model, done, [2], [0.5]))
        counted.append(float(model.cloud.statistic(VISITS)) - before)
    assert counted == [0, 0, 1, 1, 0]


SLOTS = 10
WIDE = Camera(torch.eye(4), torch.tensor([[80.0, 0, 80], [0, 80, 40], [0, 0, 1]]), 160, 80)
MUTE = 4
"""A slot of no opacity, in every anchor."""


def scene_of_dots() -> Anchored:
    """Five anchors in a row, ten offsets around each, whose Gaussians share no pixel."""
    places = torch.tensor([[0.7 * i - 1.4, 0.0, 2.0] for i in range(5)])
    model = model_at(places, voxel=0.1, slots=SLOTS, features=8)
    cloud, networks = model.cloud, model.networks()["heads"].module
    row, column = torch.arange(SLOTS) // 5, torch.arange(SLOTS) % 5
    ring = torch.stack([column * 0.13 - 0.26, row * 0.5 - 0.25, torch.zeros(SLOTS)], 1)
    with torch.no_grad():
        cloud["offset"].copy_(ring / 0.1)
        cloud["reach"][:, :3] = math.log(0.1)
        cloud["reach"][:, 3:] = math.log(2e-3)
        for values in networks.parameters():
            values.zero_()
        opacity = torch.full((SLOTS,), 1.5)
        opacity[MUTE] = -1
        networks.get_parameter("opacity_out")[-1] = opacity
        quats = torch.tensor([0.0, 0, 0, 1, 0, 0, 0]).repeat(SLOTS)
        networks.get_parameter("covariance_out")[-1] = quats
    return model


def test_the_gradient_of_an_offset_is_its_own() -> None:
    """The loss looks at the pixels of one Gaussian, right of its middle."""
    model, anchor, slot = scene_of_dots(), 3, 7
    render = NativeRenderer()
    gaussians = model(WIDE, 600)
    assert gaussians.source is not None
    assert gaussians.source.tolist() == [i for i in range(5 * SLOTS) if i % SLOTS != MUTE]
    rendered = render(gaussians, WIDE)
    place = (model.cloud["anchor"][anchor] + model.cloud["offset"][anchor, slot] * 0.1).detach()
    u, v = (float(80 * place[i] / place[2] + c) for i, c in ((0, 80), (1, 40)))
    rows, columns = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(160) + 0.5, indexing="ij")
    looked = (columns - u > 0) & (columns - u < 2.5) & ((rows - v).abs() < 2.5)
    (rendered.image * looked[..., None]).sum().backward()
    step = replace(bare(model, 600), batch=Batch(WIDE, torch.zeros(80, 160, 3, dtype=torch.uint8)),
                   rendered=rendered)  # fmt: skip
    with torch.no_grad():
        Scaffold(slots=SLOTS).observe(step)
    cloud = model.cloud
    gradient = cloud.statistic(GRADIENT)
    assert gradient.nonzero().tolist() == [[anchor, slot]]
    own = gaussians.source.tolist().index(anchor * SLOTS + slot)
    length = rendered.screen_gradient()[own].norm()
    assert float(gradient[anchor, slot]) == pytest.approx(float(length), rel=1e-6) and length > 1
    seen = torch.ones(5, SLOTS)
    seen[:, MUTE] = 0
    assert torch.equal(cloud.statistic(SEEN), seen)
    assert cloud.statistic(VISITS).tolist() == [1] * 5
    drawn_each = torch.full((5,), 9 * math.tanh(1.5))
    assert torch.allclose(cloud.statistic(OPACITY), drawn_each)
    # Nor does it reach what another anchor or slot is made of.
    for name in ("offset", "feature", "reach"):
        moved = cloud.gradient(name)
        assert moved is not None and set(moved.nonzero()[:, 0].tolist()) <= {anchor}
    assert set(cloud["offset"].grad.nonzero()[:, 1].tolist()) == {slot}  # type: ignore[union-attr]


def test_the_score_of_an_anchor_is_the_sum_over_its_gaussians() -> None:
    model, render = scene_of_dots(), NativeRenderer()
    turned = replace(WIDE, world_to_camera=WIDE.world_to_camera.clone())
    turned.world_to_camera[0, 3] = 0.4
    cameras = [WIDE, turned]

    def surveyed(index: int, maps: Sequence[PixelMap] = ()) -> Surveyed:
        camera = cameras[index]
        pixels = torch.zeros(camera.height, camera.width, 3, dtype=torch.uint8)
        return survey(model, render, Batch(camera, pixels), maps, step=600)

    step = bare(model, 600, survey=surveyed, views=2)
    for score in ("mass", "squared", "most"):
        wanted = [0.0] * 5
        for camera in cameras:
            with torch.no_grad():
                gaussians = model(camera, 600)
            assert gaussians.source is not None
            _, found = render.survey(gaussians, camera)
            for slot, value in zip(gaussians.source, getattr(found, score), strict=True):
                row = int(slot) // SLOTS
                most = max(wanted[row], float(value))
                wanted[row] = most if score == "most" else wanted[row] + float(value)
        strategy = Significance(Scaffold(slots=SLOTS), score, at=(600,), keep=0.6)  # type: ignore[arg-type]
        scores = strategy.scores(step)
        assert scores.tolist() == pytest.approx(wanted, rel=1e-5) and min(wanted[1:]) > 0
        (drop,) = of(strategy.refine(step)).drop
        order = sorted(range(5), key=wanted.__getitem__)
        assert sorted(drop.rows.tolist()) == sorted(order[:2])


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Protect(), "rule 'opacity>0.5' asks for opacity, which anchors have only for a camera"),
        (BlurSplit(), "those of scaffold are anchors, which are not split; leave it out"),
        (Significance(), r"score lightgaussian is made of opacity and scale, .* such as mass"),
    ],
)
def test_parts_for_rows_that_are_gaussians_are_refused_at_the_start(
    part: Wrapper, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        statistic_shapes(replace(part, base=Scaffold()))


def test_large_anchors_can_be_protected() -> None:
    model = model_at(spread(4))
    with torch.no_grad():
        model.cloud["reach"].fill_(math.log(0.1))
        model.cloud["reach"][1, 4] = math.log(0.3)
    model.cloud.statistic(VISITS).fill_(100)
    model.cloud.statistic(OPACITY)[3] = 100
    edit = of(Protect(Scaffold(slots=4), rule="scale>0.2").refine(bare(model, JUDGED)))
    assert edit.drop[0].rows.tolist() == [0, 2]


# The loss, and what photos look like


def test_the_term_of_the_loss_is_the_mean_volume() -> None:
    assert Scaffold().objectives() == {"volume": Volume(0.01)}
    assert Scaffold(volume_weight=0.0).objectives() == {}
    step = drawn(model_at(spread(2)), 1, [0, 5], [1.0, 1.0])
    gaussians = replace(step.rendered.gaussians, scales=torch.tensor([[1.0, 2, 3], [0.5, 0.5, 2]]))
    found = Volume(0.01)(replace(step, rendered=replace(step.rendered, gaussians=gaussians)))
    assert float(found) == pytest.approx(0.01 * (6 + 0.5) / 2)
    assert float(Volume(0.01)(bare(model_at(spread(2)), 1))) == 0


def test_codes_begin_alike_and_a_camera_of_no_photo_takes_their_mean() -> None:
    networks = Networks(2, 4, 16, (3, 5), torch.Generator().manual_seed(0))
    codes, reads = networks.codes, networks.codes_in
    assert codes is not None and reads is not None and not codes.any()
    plain, bias = networks.heads(None), networks.get_parameter("color_in")[-1]
    for photo in range(3):
        assert torch.equal(networks.heads(photo).color[0], plain.color[0])
    with torch.no_grad():
        codes.copy_(torch.randn(3, 5, generator=torch.Generator().manual_seed(1)))
    for photo, code in ((0, codes[0]), (2, codes[2]), (None, codes.sum(0) / 3)):
        heads = networks.heads(photo)
        assert torch.allclose(heads.color[0][-1], bias + code @ reads, atol=1e-6)
        assert torch.equal(heads.color[0][:-1], networks.get_parameter("color_in")[:-1])
        for head in ("opacity", "covariance"):
            own = getattr(heads, head), getattr(plain, head)
            assert all(torch.equal(a, b) for a, b in zip(*own, strict=True))


def coded_model() -> Anchored:
    """Three anchors in sight, and codes of three photos."""
    views = [replace(CAMERA, index=index) for index in range(3)]
    making = Making(steps=100, views=views)
    points = torch.tensor([[0, 0, 2.0], [0.5, 0, 3], [-0.5, 0, 3]])
    model = Scaffold(voxel=0.1, codes=5).model({"mean": points}, making)
    assert isinstance(model, Anchored)
    return model


def test_pictures_of_other_cameras_are_in_the_mean_of_all_photos() -> None:
    model = coded_model()
    module = model.networks()["heads"].module
    codes = module.get_parameter("codes")
    with torch.no_grad():
        codes.copy_(3 * torch.randn(3, 5, generator=torch.Generator().manual_seed(1)))
        held_out, own = model(model.views[1]), model(model.views[1], 50)
        assert not torch.allclose(held_out.colors, own.colors, atol=1e-4)
        assert torch.equal(held_out.means, own.means)
        assert torch.equal(held_out.opacities, own.opacities)
        codes[1] = codes.mean(0).clone()
        codes[2] = 2 * codes[1] - codes[0]
        assert torch.allclose(model(model.views[1]).colors, model(model.views[1], 50).colors)


def test_a_code_learns_from_its_own_photo() -> None:
    model = coded_model()
    trained = model.networks()["heads"]
    codes = trained.module.get_parameter("codes")
    model(model.views[2], 0).colors.square().sum().backward()
    assert codes.grad is not None
    assert codes.grad.any(1).tolist() == [False, False, True]
    trained.optimize(0, 1.0)
    assert codes.detach().any(1).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("absurd", "said"),
    [
        ({"cap": -1}, "cap is -1; expected 0 or more"),
        ({"voxel": -0.1}, "voxel is -0.1"),
        ({"slots": 17}, "slots is 17; expected from 1 to 16"),
        ({"features": 0}, "features is 0; expected from 1 to 64"),
        ({"hidden": 24}, "hidden is 24, expected 16, 32, 48 or 64"),
        ({"grids": 9}, "grids is 9"),
        ({"refine_every": 0}, "refine_every is 0"),
        ({"seen_share": 0.0}, "seen_share is 0; expected above 0"),
    ],
)
def test_absurd_numbers_are_refused(absurd: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Scaffold(**absurd)
