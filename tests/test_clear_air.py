"""Clear air: no row lies in, or reaches into, the free ball about a camera."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from methods import METHODS, ends_with_and_without_a_break, job_of

from splat import datasets, loop
from splat.core.edit import Drop, Nudge
from splat.core.frame import camera_from_frame, camera_to_frame
from splat.math import rotation_matrices
from splat.options import Options
from splat.rules.air import SIGMAS, Balls
from splat.seeding.air import with_clear_air
from splat.strategies.clear_air import ClearAir
from splat.strategies.forest import Forest
from splat.strategies.mcmc import Mcmc
from splat.training.prepare import prepare
from splat.types import Camera, Frame, Points

K = torch.tensor([[50.0, 0, 50], [0, 50, 50], [0, 0, 1]])
CAMERA = Camera(torch.eye(4), K, 100, 100)
UPRIGHT = torch.tensor([1.0, 0, 0, 0])


def reach_of(means: torch.Tensor, axes: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """Least distance of each ellipsoid of three sigmas to a centre, by looking at its surface."""
    u = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1))
    u = u / u.norm(dim=1, keepdim=True)
    surface = means[:, None] + SIGMAS * torch.einsum("nij,kj->nki", axes, u)
    return (surface - centre).norm(dim=2).amin(1)


def test_half_the_distance_to_the_nearest_thousandth() -> None:
    points = torch.zeros(4000, 3)
    points[:, 0] = torch.arange(4000) + 1.0  # the fourth nearest of 4,000 is at 4
    (camera,) = with_clear_air([CAMERA], points)
    assert abs(camera.clear_radius - 2) < 1e-6
    assert abs(camera_to_frame(camera, Frame((1, 2, 3), 0.5)).clear_radius - 1) < 1e-6


def test_between_cameras_beside_each_other_is_air() -> None:
    """Cameras 0.8 above a floor: a ball in the middle of a way of 1.1 is not covered by others."""
    steps = torch.linspace(-2, 8, 101), torch.tensor([0.8]), torch.linspace(-1, 1, 21)
    floor = torch.cartesian_prod(*steps)[::2]
    first, second = CAMERA, replace(CAMERA, world_to_camera=torch.eye(4))
    second.world_to_camera[0, 3] = -1.1
    found = with_clear_air([first, second], floor)
    assert [len(camera.clear_between) for camera in found] == [1, 0]
    ball = torch.tensor([[0.55, 0, 0, 0.4]])
    assert torch.allclose(torch.tensor(found[0].clear_between), ball, atol=3e-3)
    balls = Balls.around(found)
    assert balls is not None and len(balls.radii) == 3
    frame = Frame((1.0, 2.0, 3.0), 0.5)
    there = camera_to_frame(found[0], frame)
    moved = torch.tensor([[-0.225, -1, -1.5, 0.2]])
    assert torch.allclose(torch.tensor(there.clear_between), moved, atol=3e-3)
    back = camera_from_frame(there, frame)
    assert torch.allclose(torch.tensor(back.clear_between), ball, atol=3e-3)


def test_nothing_is_known_between_cameras_that_something_may_part() -> None:
    steps = torch.linspace(-2, 8, 101), torch.tensor([0.8]), torch.linspace(-1, 1, 21)
    floor = torch.cartesian_prod(*steps)[::2]

    def between(x: float, pose: torch.Tensor, points: torch.Tensor) -> int:
        """Balls between a camera and another that is so far beside it."""
        other = replace(CAMERA, world_to_camera=pose.clone())
        other.world_to_camera[:3, 3] = -pose[:3, :3] @ torch.tensor([x, 0, 0])
        return sum(len(each.clear_between) for each in with_clear_air([CAMERA, other], points))

    same, back = torch.eye(4), torch.diag(torch.tensor([-1.0, 1, -1, 1]))
    assert between(1.1, same, floor) == 1
    assert between(2.5, same, floor) == 0, "more than three times as far as from the floor"
    assert between(1.1, back, floor) == 0, "they look at each other, at what is between"
    few = torch.tensor([[0.55, 0.1, 0]]).repeat(3, 1)
    assert between(1.1, same, torch.cat([floor, few])) == 0, "points are there"
    assert between(0.0, same, floor) == 0


def looking(at: torch.Tensor, towards: torch.Tensor) -> Camera:
    """A camera that stands and looks there, upright along z."""
    forward = torch.nn.functional.normalize(towards - at, dim=0)
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0, 1]))
    right = right / right.norm()
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ at
    return replace(CAMERA, world_to_camera=pose)


def test_about_what_two_cameras_look_at_is_air() -> None:
    """Two of a ring of radius 4, 80 degrees apart, over a floor 1 below: what is between them on
    the ring is in a ball, and what is straight between them, 3.06 from the middle, is not."""
    steps = torch.linspace(-6, 6, 121), torch.linspace(-6, 6, 121), torch.tensor([-1.0])
    floor = torch.cartesian_prod(*steps)
    angle = torch.tensor(math.radians(80))
    first = torch.tensor([4.0, 0, 0])
    second = 4 * torch.stack([angle.cos(), angle.sin(), torch.tensor(0.0)])
    between = 4 * torch.stack([(angle / 2).cos(), (angle / 2).sin(), torch.tensor(0.0)])
    middle = torch.zeros(3)

    def there(*cameras: Camera) -> list[bool]:
        balls = Balls.around(with_clear_air(cameras, floor))
        assert balls is not None
        return balls.hold(torch.stack([between, (first + second) / 2])).tolist()

    assert there(looking(first, middle), looking(second, middle)) == [True, False]
    found = with_clear_air([looking(first, middle), looking(second, middle)], floor)
    radii = [ball[3] for camera in found for ball in camera.clear_between]
    # Points are 0.1 apart, and the fourteenth is hardly farther than the floor.
    assert radii == pytest.approx([(1 - 0.3) / 2] * len(radii), abs=0.03) and radii
    outwards = looking(first, 2 * first), looking(second, 2 * second)
    assert there(*outwards) == [False, False], "nothing that both look at"
    across = looking(first, torch.tensor([0.0, 0, 3])), looking(second, torch.tensor([0.0, 0, -3]))
    assert there(*across) == [False, False], "one looks above what the other does"
    more = torch.cat([floor, between + 0.05 * torch.eye(3).repeat(20, 1)])
    balls = Balls.around(with_clear_air([looking(first, middle), looking(second, middle)], more))
    assert balls is not None and not balls.hold(between[None]), "points are there"


def test_a_row_shrinks_until_it_just_does_not_reach() -> None:
    balls = Balls(torch.zeros(1, 3), torch.tensor([1.0]))
    means = torch.tensor([[4.0, 0, 0], [4.0, 0, 0], [0, 0.5, 0], [4.0, 0, 0]])
    sizes = torch.tensor([[2.0, 0.1, 0.1], [0.1, 2.0, 0.1], [0.1, 0.1, 0.1], [0.5, 0.5, 0.5]])
    factor = balls.fitting(means, sizes, UPRIGHT.expand(4, 4))
    # Towards the ball 6 of 3 that there are; across it nothing reaches; inside; well outside.
    assert torch.allclose(factor, torch.tensor([0.5, 1.0, 0.0, 1.0]))
    assert balls.hold(means).tolist() == [False, False, True, False]


def test_a_wall_beside_a_camera_stays_as_large_as_it_is() -> None:
    """A plate of 60 by 60 at a height of 1.5 passes a ball of radius 1, however far it reaches."""
    balls = Balls(torch.zeros(1, 3), torch.tensor([1.0]))
    plate = torch.tensor([10.0, 10.0, 1e-3])
    means = torch.tensor([[8.0, 0, 1.5], [8.0, 0, 0.5]])
    factor = balls.fitting(means, plate.expand(2, 3), UPRIGHT.expand(2, 4))
    # Half as high it cuts the ball in a circle, and its rim may come as near as that.
    assert torch.allclose(factor, torch.tensor([1.0, (8 - 0.75**0.5) / 30]), rtol=1e-3)


def test_no_ellipsoid_reaches_whatever_its_turn() -> None:
    generator = torch.Generator().manual_seed(0)
    means = 3 * torch.randn(300, 3, generator=generator)
    quats = torch.randn(300, 4, generator=generator)
    scales = torch.rand(300, 3, generator=generator) * torch.tensor([2.0, 0.5, 0.1])
    balls = Balls(torch.tensor([[0.0, 0, 0], [1.0, 2.0, 0]]), torch.tensor([1.0, 0.5]))
    factor = balls.fitting(means, scales, quats)
    kept = factor > 0
    axes = (rotation_matrices(quats) * scales[:, None])[kept] * factor[kept][:, None, None]
    nearest = torch.full((len(axes),), torch.inf)
    for centre, radius in zip(balls.centres, balls.radii, strict=True):
        nearest = nearest.minimum(reach_of(means[kept], axes, centre) - radius)
    assert float(nearest.min()) > -1e-4
    # And no more than that: where it was shrunk, it touches one, as far as 4,000 points tell.
    assert float(nearest[factor[kept] < 1].median()) < 0.02


@pytest.mark.parametrize("name", ["mcmc", "adc", "mrnf", "forest"])
def test_after_training_nothing_reaches_into_a_ball(name: str, tiny_folder: Path) -> None:
    strategy = METHODS[name]
    if isinstance(strategy, Forest):  # of its newborn leaves only the middles are seen to
        strategy = replace(strategy, refine_until=50)
    with closing(job_of(tiny_folder, strategy, steps=60)) as job:
        run = job.run
        balls = Balls.around(run.views)
        assert balls is not None and len(balls.radii) >= len(run.views)
        with torch.no_grad():  # a veil before the first camera, and one that is in its face
            camera, cloud = run.views[0], run.model.cloud
            ahead, radius = camera.world_to_camera[2, :3], balls.radii[0]
            cloud["mean"][0] = camera.centre + 1.5 * radius * ahead
            cloud[run.model.reach][0] = float(radius.log())
            cloud["mean"][1] = camera.centre + 0.5 * radius * ahead
        loop.train(run)
        shapes = run.model.shapes()
        assert shapes is not None
        scales = shapes[0].detach().exp()
        axes = rotation_matrices(shapes[1].detach()) * scales[:, None]
        for centre, radius in zip(balls.centres, balls.radii, strict=True):
            near = (cloud["mean"].detach() - centre).norm(dim=1) < radius + 3 * scales.amax(1)
            if near.any():
                reached = reach_of(cloud["mean"].detach()[near], axes[near], centre)
                assert float(reached.min()) > float(radius) * (1 - 1e-4)


def test_what_is_really_near_a_camera_stays(tiny_folder: Path) -> None:
    """Points close to a camera say that something is there; the ball ends before it."""
    scene = datasets.load(tiny_folder)
    assert scene.points is not None
    camera = scene.train[0].camera
    near = camera.centre + 0.05 * torch.nn.functional.normalize(
        camera.world_to_camera[2, :3], dim=0
    )
    cloud = near + 0.002 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    positions = torch.cat([scene.points.positions.float(), cloud])
    colors = torch.cat([scene.points.colors, torch.ones(60, 3)])
    scene = replace(scene, points=Points(positions, colors))
    options = Options(steps=9, max_side=0, device="cpu")
    with closing(prepare(scene, Mcmc(cap=2000), options)) as job:
        run = job.run
        balls = Balls.around(run.views)
        assert balls is not None
        there = (run.model.cloud["mean"].detach() - run.views[0].centre).norm(dim=1)
        assert int((there < 0.07 * run.frame.scale).sum()) >= 60
        assert not balls.hold(run.model.cloud["mean"].detach()).any()


def test_what_it_proposes(tiny_folder: Path) -> None:
    with closing(job_of(tiny_folder, METHODS["adc"], steps=60, clear_air=False)) as job:
        run = job.run
        balls = Balls.around(run.views)
        assert balls is not None
        with torch.no_grad():
            run.model.cloud["mean"][3] = run.views[0].centre
        run.step = 49
        step = loop.next_step(run)
        edit = ClearAir(run.strategy, every=50).refine(step)
        assert edit is not None
        assert next(d for d in edit.drop if d.reason == "air").rows.tolist() == [3]
        assert all(isinstance(each, Nudge) for each in edit.nudge)
        assert all(isinstance(each, Drop) for each in edit.drop)
        assert ClearAir(run.strategy, every=7).refine(step) == run.strategy.refine(step)


def test_a_run_resumes_exactly(tiny_folder: Path, tmp_path: Path) -> None:
    one, two = ends_with_and_without_a_break(tiny_folder, tmp_path, METHODS["mcmc"], 70)
    assert one == two
