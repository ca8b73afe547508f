"""Points of what moves fast, found in photos."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from splat import datasets, kernels
from splat.core.frame import Frame
from splat.datasets.demo import clip, motion
from splat.datasets.demo.shapes import SOLIDS
from splat.photos.loader import Loader
from splat.rules.moves import knowing, may_move
from splat.seeding import moved
from splat.seeding.moved import moving_points, velocities, with_what_moves
from splat.seeding.points import joined, without_crowded
from splat.types import Camera, Points


def blob(middle: tuple[float, float, float], color: float, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    places = torch.tensor(middle) + 0.1 * torch.rand(60, 3, generator=draw)
    return places, torch.full((60, 3), color)


def at(time: float, *blobs: tuple[Tensor, Tensor]) -> Points:
    places, colors = (torch.cat(each) for each in zip(*blobs, strict=True))
    return Points(places, colors, torch.full((len(places),), time))


def test_velocities_are_of_things_that_go_on_and_keep_their_colour() -> None:
    """One goes past another that stands where it was, one turns back, one is gone at once."""
    instants = [
        at(
            0.25 * k,
            blob((0.5 * k, 0, 0), 0.9, 10 + k),  # two units per clip
            blob((0.5, 0.0, 0.0), 0.1, 20 + k),  # stands
            blob((0.0, 3 - abs(k - 1), 0), 0.5, 30 + k),  # there and back
        )
        for k in range(3)
    ]
    found = velocities(instants).view(3, 3, 60, 3)
    assert found[0].isnan().all() and found[2].isnan().all(), "nothing is known before and after"
    going, standing, back = found[1]
    off = (going - torch.tensor([2.0, 0, 0])).norm(dim=1)
    assert float(off.nanquantile(0.9)) < 0.2 and float(off.isnan().float().mean()) < 0.1
    stood = standing[standing.isfinite().all(1)]
    assert not len(stood) or float(stood.norm(dim=1).max()) < 0.4
    assert bool(back.isnan().any(1).all()), "where it goes back it has no velocity"
    alone = velocities([instants[0], Points(torch.zeros(0, 3), torch.zeros(0, 3)), instants[2]])
    assert len(alone) == 360 and bool(alone.isnan().all())


def test_the_velocity_of_what_speeds_up_is_that_of_its_instant() -> None:
    """x = 2 t + t^2 at 0, 0.2 and 0.6: 2.2 on the way there and 2.8 on the way on, 2.4 at 0.2."""
    places = blob((0, 0, 0), 0.9, 1)[0]
    colors = torch.rand(60, 3, generator=torch.Generator().manual_seed(2))  # each of its own
    ways = {time: torch.tensor([2 * time + time**2, 0, 0]) for time in (0.0, 0.2, 0.6)}
    found = velocities([at(time, (places + way, colors)) for time, way in ways.items()])[60:120]
    torch.testing.assert_close(found, torch.tensor([[2.4, 0, 0]]).expand(60, 3), rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def hopping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bead is a few pixels wide in it, and half its way around apart from one instant to the
    third."""
    folder = tmp_path_factory.mktemp("clip") / "hopping"
    clip.write(folder, cameras=9, instants=16, width=64, height=48, samples=1, points=200)
    return folder


def test_what_is_small_and_fast_is_found_where_it_is(
    hopping: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moved, "DRAWN", 4096)
    monkeypatch.setattr(moved, "MOST_POINTS", 400)
    scene = datasets.load(hopping)
    train = [replace(v, camera=replace(v.camera, index=i)) for i, v in enumerate(scene.train)]
    with kernels.one_torch_thread():
        frame = Frame((0.0, 0.0, 0.0), 1.0)
        photos = Loader(train, frame=frame)
        found = moving_points(photos, 500, 0.2, torch.Generator().manual_seed(1))
        again = moving_points(photos, 500, 0.2, torch.Generator().manual_seed(1))
        assert moving_points(photos, 500, 1e-4, torch.Generator()) is None, "nothing is so fast"
        of_two = Loader(train[:32], frame=frame)
        assert moving_points(of_two, 500, 0.2, torch.Generator()) is None, "two cameras only"
        photos.close()
        of_two.close()
    assert found is not None and again is not None and found.times is not None
    assert found.velocities is not None and torch.equal(found.positions, again.positions)
    assert 50 < len(found.positions) <= 500 and bool(found.velocities.isfinite().all())
    number = next(i for i, solid in enumerate(SOLIDS) if solid.name == "bead")
    near, off = [], []
    for time in found.times.unique().tolist():
        rows = found.times == time
        bead = motion.at(time)[number]
        places = found.positions[rows].double().numpy()
        away = np.linalg.norm(places - np.array(bead.position), axis=1)
        mine = away < 2 * max(bead.half)
        true = motion.velocities(np.full(len(places), number + 1), places, time)
        off += list(np.linalg.norm(found.velocities[rows].numpy() - true, axis=1)[mine])
        near += list(mine)
    assert np.mean(near) > 0.5, "most are of the bead, a fiftieth of what is seen"
    assert np.median(off) < 0.4 * 2 * math.pi * motion.OUTER


def test_cameras_know_where_something_may_move(hopping: Path) -> None:
    scene = datasets.load(hopping)
    train = [replace(v, camera=replace(v.camera, index=i)) for i, v in enumerate(scene.train)]
    with kernels.one_torch_thread():
        photos = Loader(train, frame=Frame((0.0, 0.0, 0.0), 1.0))
        cameras = with_what_moves(photos)
        assert all(camera.moves is None for camera in photos.cameras)
        of_two = Loader(train[:32], frame=Frame((0.0, 0.0, 0.0), 1.0))
        assert all(camera.moves is None for camera in with_what_moves(of_two))
        photos.close()
        of_two.close()
    assert all(camera.moves is not None for camera in cameras)
    number = next(i for i, solid in enumerate(SOLIDS) if solid.name == "bead")
    times = sorted({camera.time for camera in cameras})
    beads = torch.tensor([motion.at(time)[number].position for time in times]).float()
    when = torch.tensor(times)
    there = may_move(beads, cameras, when)
    elsewhere = may_move(beads, cameras, when.roll(4))
    any_time = may_move(beads, cameras)
    assert there is not None and elsewhere is not None and any_time is not None
    assert there.float().mean() > 0.7 > 0.5 > elsewhere.float().mean()
    assert bool((any_time | ~there).all())


def test_a_point_may_move_where_most_photos_of_an_instant_say_so() -> None:
    def camera(x: float, time: float, moves: bool) -> Camera:
        pose = torch.eye(4)
        pose[0, 3] = -x
        K = torch.tensor([[40.0, 0, 16], [0, 40, 16], [0, 0, 1]])
        mask = torch.zeros(8, 8, dtype=torch.bool)
        mask[2:6, 2:6] = moves
        return Camera(pose, K, 32, 32, time=time, moves=mask)

    def seen(time: float, *moves: bool) -> list[Camera]:
        return [camera(0.1 * i, time, each) for i, each in enumerate(moves)]

    # Before all cameras; at the edge of their pictures, where nothing moves; behind them.
    places = torch.tensor([[0.1, 0.0, 2.0], [0.7, 0.7, 2.0], [0.0, 0.0, -1.0]])
    unknown = replace(camera(0, 0.0, True), moves=None)
    assert may_move(places, [unknown]) is None and knowing([unknown]) == 0
    cameras = [unknown, *seen(0.0, True, True, False), *seen(1.0, True, False, False)]
    assert knowing(cameras) == 3
    found = may_move(places, cameras)
    assert found is not None and found.tolist() == [True, False, False]
    late = torch.full((3,), 0.9)
    found, one = may_move(places, cameras, late), may_move(places, cameras, late, share=0)
    assert found is not None and found.tolist() == [False] * 3
    assert one is not None and one.tolist() == [True, False, False]


def test_points_and_those_that_go_are_put_together() -> None:
    still = Points(torch.zeros(2, 3), torch.ones(2, 3))
    fast = Points(torch.ones(1, 3), torch.ones(1, 3), torch.ones(1), torch.ones(1, 3))
    both = joined(still, fast)
    assert both.times is not None and both.velocities is not None
    assert both.times.isnan().tolist() == [True, True, False]
    assert both.take(torch.tensor([2])).velocities.tolist() == [[1, 1, 1]]


def test_of_points_that_crowd_some_make_room() -> None:
    x = torch.tensor([0.0, 1.0, 1.1, 3.0, 3.05, 9.0, 3.01])
    times = torch.tensor([0.0, 0, 0, 0, 0, 0, 1])
    places = torch.stack([x, 0 * x, 0 * x], 1)
    points = Points(places, places, times)
    left = [without_crowded(points, count).positions[:, 0].tolist() for count in (0, 1, 2)]
    assert left[0] == x.tolist()
    assert left[1] == pytest.approx([0, 1, 1.1, 3, 9, 3.01]), "that of another instant is alone"
    assert left[2] == pytest.approx([0, 1, 3, 9, 3.01])
    still = Points(places, places)
    assert len(without_crowded(still, 7).positions) == 0
