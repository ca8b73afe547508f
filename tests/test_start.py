"""Points that are copied until a run starts with as many Gaussians as were asked for."""

from __future__ import annotations

from pathlib import Path

import torch

from splat import api
from splat.core.frame import neighbour_distances
from splat.core.strategy import Fixed
from splat.options import Options
from splat.seeding.points import filled
from splat.types import Points


def cloud(n: int = 40) -> Points:
    draw = torch.Generator().manual_seed(3)
    positions = torch.rand(n, 3, generator=draw)
    return Points(positions, torch.rand(n, 3, generator=draw), torch.linspace(0, 0.5, n))


def filled_to(count: int, seed: int = 0) -> Points:
    return filled(cloud(), count, torch.Generator().manual_seed(seed))


def test_copies_keep_colours_and_times_and_stay_about_their_points() -> None:
    points, more = cloud(), filled_to(100)
    assert more.times is not None and points.times is not None
    assert len(more.positions) == len(more.colors) == len(more.times) == 100
    torch.testing.assert_close(more.positions[:40], points.positions)
    # Each point once or twice more, known by its colour.
    which = (more.colors[40:, None] == points.colors[None]).all(2)
    assert bool((which.sum(1) == 1).all()) and set(which.sum(0).tolist()) == {1, 2}
    origin = which.float().argmax(1)
    torch.testing.assert_close(more.times[40:], points.times[origin])
    alone = Points(points.positions, points.colors)
    moved = filled(alone, 100, torch.Generator().manual_seed(0)).positions[40:]
    spacing = neighbour_distances(points.positions)[origin]
    apart = (moved - points.positions[origin]) / spacing[:, None]
    assert 0.8 < float(apart.std()) < 1.2 and float(apart.abs().max()) < 5


def test_the_same_seed_copies_alike_and_enough_points_stay_as_they_are() -> None:
    assert torch.equal(filled_to(100).positions, filled_to(100).positions)
    assert not torch.equal(filled_to(100).positions, filled_to(100, 1).positions)
    assert torch.equal(filled_to(40).positions, cloud().positions)
    assert torch.equal(filled_to(0).positions, cloud().positions)


def test_a_fixed_run_starts_and_ends_with_them(tiny_folder: Path) -> None:
    scene = api.load(tiny_folder)
    assert scene.points is not None and len(scene.points.positions) < 700
    options = Options(steps=2, sky="none", clear_air=False, device="cpu")
    assert len(api.train(scene, Fixed(fill=700), options, lpips=None).gaussians) == 700
