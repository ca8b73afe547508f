"""The built-in scene is what it says it is: distances, pictures, poses and files agree."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from reference import check_distance, gradient_of
from scenes import files_of, unprojected
from torch import Tensor

from splat.datasets import demo, load
from splat.datasets.demo import clip, motion, shapes
from splat.types import Camera, Clip

TINY = {"views": 12, "width": 48, "height": 36, "samples": 2, "points": 300}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "scene"
    demo.write(path, **TINY)
    return path


@pytest.fixture(scope="module")
def pictures() -> list[tuple[Camera, demo.DemoView]]:
    return [(camera, demo.render(camera, 1)) for camera in demo.cameras(6, 96, 72)]


def test_the_distance_never_exceeds_the_way_to_another_value() -> None:
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor([-2.0, -2.0, -0.3]), torch.tensor([2.0, 2.0, 1.6])
    points = low + (high - low) * torch.rand(20_000, 3, generator=generator)
    check_distance(demo.sdf, points.double(), generator)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.6, -0.14, 0.34), -0.34),  # centre of the sphere
        ((0.6, -0.14, 0.78), 0.1),  # above it
        ((-0.52, -0.24, 0.59), 0.1),  # above the box
        ((0.22, -0.72, 0.14), -0.14),  # centre of the bead
        ((1.1, -0.5, 0.05), 0.05),  # above the boards
        ((0.0, 0.0, -0.08), -0.08),  # in the middle of the plinth
        ((-0.06, 0.26, 1.0), 0.085),  # in the mouth of the vase
        ((3.5, 0.0, -0.5), None),  # below the floor
        ((0.0, 0.0, 6.0), -0.8),  # beyond the dome
    ],
)
def test_the_distance_at_known_places(
    point: tuple[float, float, float], expected: float | None
) -> None:
    found = float(demo.sdf(torch.tensor([point], dtype=torch.float64)))
    assert found < -0.1 if expected is None else found == pytest.approx(expected, abs=1e-6)


def test_bases_leave_no_surface_inside() -> None:
    # Under vase, box and cone, and under the point where the sphere touches the boards.
    inside = torch.tensor([[-0.06, 0.26, 0.0], [-0.52, -0.24, 0.0], [0.56, 0.6, 0.0]]).double()
    assert bool((demo.sdf(inside) < -0.004).all())


def test_depth_lies_on_the_surface(pictures: list[tuple[Camera, demo.DemoView]]) -> None:
    for camera, view in pictures:
        assert bool(torch.isfinite(view.depth).all())
        points = unprojected(camera, view.depth).reshape(-1, 3)
        assert float(demo.sdf(points).abs().max()) < 1e-3
        # Nothing stands between the camera and what it sees.
        eye = camera.centre.double()
        for share in torch.linspace(0.05, 0.99, 40, dtype=torch.float64):
            assert float(demo.sdf(eye + share * (points - eye)).min()) > -1e-4


def test_normals_are_the_gradient_and_face_the_camera(
    pictures: list[tuple[Camera, demo.DemoView]],
) -> None:
    for camera, view in pictures:
        points = unprojected(camera, view.depth).reshape(-1, 3)
        normals = view.normals.double().reshape(-1, 3)
        assert torch.allclose(normals.norm(dim=1), torch.ones(()).double(), atol=1e-5)
        away = torch.nn.functional.normalize(points - camera.centre.double(), dim=1)
        # A ray that passes a silhouette by less than the tolerance counts as a hit.
        assert float((normals * away).sum(1).max()) < 0.05
        alike = (normals * torch.nn.functional.normalize(gradient_of(demo.sdf, points), dim=1)).sum(
            1
        )
        # Creases, where the gradient jumps, are few.
        assert float((alike > 0.9999).double().mean()) > 0.985
        assert float(alike.median()) > 0.999999


def test_every_thing_is_seen_and_is_where_its_number_says(
    pictures: list[tuple[Camera, demo.DemoView]],
) -> None:
    seen = torch.cat([view.objects.reshape(-1) for _, view in pictures]).unique().tolist()
    assert seen == list(range(len(demo.OBJECTS)))
    bead = demo.OBJECTS.index("bead")
    centre = torch.tensor([0.22, -0.72, 0.14], dtype=torch.float64)
    for camera, view in pictures:
        points = unprojected(camera, view.depth)[view.objects == bead]
        assert torch.allclose((points - centre).norm(dim=1), torch.tensor(0.14).double(), atol=1e-3)
        assert torch.equal(view.mask == 255, view.objects > 1)


def test_a_point_is_drawn_where_it_projects() -> None:
    """The bead's outline is known in closed form; so is the pixel its centre falls on."""
    bead, centre, radius = demo.OBJECTS.index("bead"), torch.tensor([0.22, -0.72, 0.14]), 0.14
    for camera in demo.cameras(9, 160, 120):
        view = demo.render(camera, 1)
        local = camera.world_to_camera[:3, :3] @ centre + camera.world_to_camera[:3, 3]
        v, u = torch.meshgrid(torch.arange(120) + 0.5, torch.arange(160) + 0.5, indexing="ij")
        rays = torch.stack([u, v, torch.ones_like(u)], -1) @ camera.K.inverse().T
        rays = torch.nn.functional.normalize(rays, dim=-1)
        miss = torch.linalg.cross(rays, local.expand_as(rays)).norm(dim=-1)
        # What covers the bead, another thing in front, may hide it but not move it.
        assert not bool(((view.objects == bead) & (miss > radius + 1e-3)).any())
        hidden = (miss < radius - 1e-3) & (view.objects != bead)
        assert bool((view.depth[hidden] < local[2] + radius).all())


def test_cameras_stand_upright_and_look_at_the_middle() -> None:
    for count in (1, 2, 7, 12, 60):
        found = demo.cameras(count, 64, 48)
        assert [camera.index for camera in found] == list(range(count))
        assert len({tuple(camera.centre.tolist()) for camera in found}) == count
    for camera in found:
        pose = camera.world_to_camera.double()
        rotation = pose[:3, :3]
        assert torch.allclose(rotation @ rotation.T, torch.eye(3).double(), atol=1e-6)
        assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-6)
        local = rotation @ torch.tensor([0, 0, 0.13]).double() + pose[:3, 3]
        assert float(local[:2].abs().max()) < 1e-5 and float(local[2]) > 3
        # World up is up in the picture, where y goes down.
        assert float(rotation[1, 2]) < -0.5 and float(rotation[0, 2]) == pytest.approx(0, abs=1e-6)


def test_antialiasing_is_what_a_finer_picture_averages_to() -> None:
    camera = demo.cameras(3, 96, 72)[1]
    plain, smooth = demo.render(camera, 1), demo.render(camera, 8)
    assert torch.equal(plain.depth, smooth.depth) and torch.equal(plain.objects, smooth.objects)
    fine = demo.render(camera.resized(384, 288), 1).image.numpy()
    # Light adds up before it is exposed and encoded (2.2 is close enough to sRGB here).
    light = -np.log(1 - np.minimum((fine / 255.0) ** 2.2, 0.999))
    light = cv2.resize(light, (96, 72), interpolation=cv2.INTER_AREA)
    average = 255 * (1 - np.exp(-light)) ** (1 / 2.2)
    errors = [float(np.square(view.image.numpy() - average).mean()) for view in (plain, smooth)]
    assert errors[1] < errors[0] / 8


def test_points_lie_near_the_surface_and_follow_the_seed() -> None:
    points = demo.points(2_000, seed=3)
    assert points.positions.shape == points.colors.shape == (2_000, 3)
    distance = demo.sdf(points.positions.double()).abs()
    assert 5e-4 < float(distance.mean()) < 0.01 and float(distance.max()) < 0.03
    assert float(points.colors.min()) >= 0 and float(points.colors.max()) <= 1
    assert not torch.equal(points.positions, demo.points(2_000, seed=4).positions)


def test_the_folder_is_read_like_any_other(folder: Path) -> None:
    scene = load(folder)
    assert scene.format == "colmap" and len(scene.train) + len(scene.test) == 12
    assert scene.points is not None and len(scene.points.positions) == 300
    known = demo.cameras(12, 48, 36)
    for view in (*scene.train, *scene.test):
        camera = known[int(view.name[5:8])]
        assert view.mask is None and view.lens is None
        assert (view.camera.width, view.camera.height) == (48, 36)
        assert torch.allclose(view.camera.K.double(), camera.K.double(), atol=1e-4)
        pose = view.camera.world_to_camera.double()
        assert torch.allclose(pose, camera.world_to_camera.double(), atol=1e-6)
        image = cv2.imread(str(view.image))[..., ::-1]
        assert np.array_equal(image, demo.render(camera, 2).image.numpy())


def test_the_truth_on_disk_is_the_truth_rendered(folder: Path) -> None:
    camera = demo.cameras(12, 48, 36)[7]
    rendered, read = demo.render(camera, 2), demo.truth(folder, "view_007.png")
    assert torch.equal(rendered.image, read.image) and torch.equal(rendered.depth, read.depth)
    assert torch.equal(rendered.objects, read.objects)
    assert float((rendered.normals - read.normals).abs().max()) < 0.01
    mask = cv2.imread(str(folder / "truth" / "masks" / "view_007.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(mask, rendered.mask.numpy())


def test_writing_twice_gives_the_same_bytes_on_any_number_of_threads(
    folder: Path, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 if threads == 1 else 1)
        demo.write(tmp_path / "again", **TINY)
    finally:
        torch.set_num_threads(threads)
    files = files_of(folder)
    assert len(files) == 12 * 5 + 3 and files == files_of(tmp_path / "again")


def test_an_existing_folder_is_left_alone(folder: Path) -> None:
    with pytest.raises(FileExistsError, match="exists already"):
        demo.write(folder, **TINY)
    assert (folder / "images" / "view_000.png").is_file()


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        demo.write(tmp_path / "scene", views=1, width=8, height=6, points=-1)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_filled_once_even_in_a_race(tmp_path: Path) -> None:
    small = {"views": 3, "width": 16, "height": 12, "samples": 1, "points": 20}
    with ThreadPoolExecutor(2) as pool:
        racers = [pool.submit(demo.cached, tmp_path, **small) for _ in range(2)]
        found = {racer.result() for racer in racers}
    assert len(found) == 1 and list(tmp_path.iterdir()) == list(found)
    before = (next(iter(found)) / "images" / "view_000.png").stat().st_mtime_ns
    assert demo.cached(tmp_path, **small) in found
    assert (next(iter(found)) / "images" / "view_000.png").stat().st_mtime_ns == before
    assert demo.cached(tmp_path, **{**small, "views": 2}) not in found


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("moving") / "rig"
    clip.write(path, cameras=6, instants=3, width=48, height=36, samples=1, points=200)
    return path


def test_a_clip_is_a_scene_with_times(rig: Path, tmp_path: Path) -> None:
    scene = load(rig)
    assert scene.clip == Clip(seconds=clip.SECONDS, instants=3)
    assert (len(scene.train), len(scene.test)) == (15, 3)
    assert {Path(view.name).parent.name for view in scene.test} == {"cam04"}
    assert {view.camera.time for view in scene.train} == {0, 0.5, 1}
    assert scene.points is not None and scene.points.times is not None
    assert scene.points.times.unique().tolist() == pytest.approx(list(clip.KEYFRAMES))
    clip.write(tmp_path / "orbit", layout="orbit", instants=2, width=48, height=36, samples=1)
    orbit = load(tmp_path / "orbit")
    assert (len(orbit.train), len(orbit.test)) == (10, 2)
    assert orbit.clip is not None and orbit.clip.instants == 10
    assert orbit.points is not None and orbit.points.times is None


def test_what_moves_moves_as_its_flow_says(rig: Path) -> None:
    """Points carried along by their velocity are on the surface a moment later."""
    view = next(v for v in load(rig).test if v.camera.time == 0.5)
    known = clip.truth(rig, view.name)
    places = clip.unprojected(view.camera, known.depth).reshape(-1, 3)
    flow = known.flow.reshape(-1, 3).double().numpy()
    still = known.objects.flatten().numpy() < 2
    assert not flow[still].any() and (np.abs(flow[~still]).max(1) > 0.1).sum() > 50
    later = 0.5 + 0.01
    stayed = torch.from_numpy(places)
    moved = stayed + 0.01 * torch.from_numpy(flow)

    def away(points: Tensor) -> Tensor:
        found = shapes.scene(*points.numpy().T.copy(), motion.at(later))
        return torch.from_numpy(np.abs(found))

    fast = torch.from_numpy(np.linalg.norm(flow, axis=1) > 0.5)
    assert float(away(moved).quantile(0.98)) < 1e-3 < 2e-3 < float(away(stayed)[fast].median())


def test_one_thing_appears(rig: Path) -> None:
    cone = demo.OBJECTS.index("cone")
    seen = {v.camera.time: clip.truth(rig, v.name).objects == cone for v in load(rig).test}
    assert not seen[0].any() and seen[0.5].any() and seen[1].any()
    assert (motion.velocities(np.array([cone]), np.zeros((1, 3)), motion.APPEARS) == 0).all()


def test_at_no_time_do_things_stand_in_each_other_or_the_ground() -> None:
    for time in np.linspace(0, 1, 41):
        solids = motion.at(float(time))
        for i, solid in enumerate(solids[1:], 1):
            others = [s for k, s in enumerate(solids) if k not in (i, 0)]
            inside = shapes.scene(*(np.array([float(p)]) for p in solid.position), others)
            assert inside > 0 or solid.position == motion.AWAY, (solid.name, time)
