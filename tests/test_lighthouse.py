"""Rooms swept with a phone: planes to start from, surfaces kept flat, large opaque rows spared."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods import METHODS
from scenes import shots, write_colmap
from steps import model_of, refined, step_of
from test_guidance import CAMERA, looked, plane_depth
from torch import Tensor

from splat import datasets
from splat.core.edit import Drop, Edit
from splat.core.step import Step
from splat.core.strategy import Start, Strategy
from splat.guidance import GivenNormal
from splat.math import rotation_matrices
from splat.options import Options
from splat.seeding.planes.assemble import Sheet, merged_sheets, scaffold_of
from splat.seeding.planes.planes import lifted, refitted
from splat.seeding.planes.shift import modes, nearest
from splat.seeding.planes.thin import Placed, plane_basis, thinned
from splat.strategies.adc import Adc
from splat.strategies.lighthouse import Lighthouse
from splat.strategies.lighthouse.terms import Consistent, Flat, SmoothNormals
from splat.training.prepare import prepare, start_rows
from splat.types import Batch, Camera, Points
from worlds import sweep

# A room: two walls that meet, and the floor.


WALLS = torch.nn.functional.normalize(
    torch.tensor([[0.6, 0.0, -0.8], [-0.7, 0.0, -0.7], [0.0, -1.0, -0.02]]), dim=1
)
"""Normals in the camera's axes, towards it."""
OFFSETS = torch.tensor([-3.0, -2.6, -1.2])
ROOM = Camera(torch.eye(4), torch.tensor([[60.0, 0, 48], [0, 60.0, 36], [0, 0, 1]]), 96, 72)


def room(camera: Camera = ROOM) -> tuple[Tensor, Tensor, Tensor]:
    """Depth, normals (axes of the camera) and which wall, of a convex room."""
    depths = []
    for wall, offset in zip(WALLS, OFFSETS, strict=True):
        depth = plane_depth(camera, wall, float(offset))
        depths.append(depth.where(depth > 0, torch.inf))
    depth, which = torch.stack(depths).min(0)
    return depth, WALLS[which], which


def photographed(
    noise: float = 0.0, factor: float = 0.4, summand: float = 0.3
) -> tuple[Batch, Points]:
    """A photo of the room with depth in a unit of its own, and points with a fifth of outliers."""
    draw = torch.Generator().manual_seed(1)
    depth, normals, which = room()
    height, width = depth.shape
    noisy = normals + noise * torch.randn(height, width, 3, generator=draw)
    pixels = (60 * (which[..., None] + 1)).expand(-1, -1, 3).to(torch.uint8).contiguous()
    batch = Batch(
        ROOM, pixels, depth=(factor * depth + summand).float(),
        normal=torch.nn.functional.normalize(noisy, dim=2),
    )  # fmt: skip
    places = torch.randperm(height * width, generator=draw)[:900]
    rows, columns = places // width, places % width
    K = ROOM.K.double()
    rays = torch.stack([(columns + 0.5 - K[0, 2]) / K[0, 0], (rows + 0.5 - K[1, 2]) / K[1, 1]], 1)
    z = depth.flatten()[places].clone()
    z[:180] *= 1 + 0.14 * torch.rand(180, generator=draw)
    positions = torch.cat([rays, torch.ones(900, 1)], 1) * z[:, None]
    return batch, Points(positions.float(), torch.full((900, 3), 0.5))


def test_modes_are_where_values_gather() -> None:
    draw = np.random.default_rng(0)
    values = np.concatenate([draw.normal(m, 0.1, (n, 2)) for m, n in ((0, 50), (2, 400), (5, 200))])
    values = np.concatenate([values, draw.uniform(-20, 20, (60, 2))])
    found = modes(values, 0.4, 0.05)
    np.testing.assert_allclose(found, [[2, 2], [5, 5], [0, 0]], atol=0.06)
    assert nearest(values[:50], found, 0.4).tolist().count(2) > 45
    assert nearest(np.array([[9.0, 9.0]]), found, 0.4).tolist() == [-1]
    assert len(modes(values[:0], 0.4, 0.05)) == 0
    np.testing.assert_array_equal(found, modes(values, 0.4, 0.05))


def test_depth_on_a_plane_is_fitted_to_its_points() -> None:
    draw = np.random.default_rng(2)
    depth = draw.uniform(2, 3, 200)
    wanted = 1.07 * depth - 0.2
    wanted[:40] += draw.uniform(0.2, 3, 40)  # a fifth is wrong
    assert refitted(depth, wanted) == pytest.approx((1.07, -0.2), abs=1e-3)
    # Where depth hardly varies, the factor is noise, and depth is only moved.
    level = 2 + draw.normal(0, 1e-3, 200)
    slope, shift = refitted(level, 2.1 + draw.normal(0, 1e-2, 200))
    assert slope == 1 and shift == pytest.approx(0.1, abs=5e-3)
    assert refitted(depth[:5], wanted[:5]) == (1.0, 0.0)


@pytest.mark.parametrize("kind", ["affine", "inverse"])
def test_a_photo_is_taken_apart_into_its_planes(kind: Any) -> None:
    batch, points = photographed(noise=0.05)
    if kind == "inverse":
        depth, _, _ = room()
        batch = replace(batch, depth=(0.7 / depth - 0.05).float())
    found = lifted(batch, points, kind)
    assert found is not None and len(found.planes) == 3
    depth, _, which = room()
    K = ROOM.K.double()
    columns = np.rint(found.directions[:, 0] * K[0, 0].item() + K[0, 2].item() - 0.5).astype(int)
    rows = np.rint(found.directions[:, 1] * K[1, 1].item() + K[1, 2].item() - 0.5).astype(int)
    true = depth.numpy()[rows, columns]
    assert np.median(np.abs(found.depth - true) / true) < 2e-3
    for number, plane in enumerate(found.planes):
        wall = int((WALLS.double().numpy() @ plane.normal).argmax())
        assert plane.normal @ WALLS[wall].double().numpy() > np.cos(np.radians(1))
        assert plane.offset == pytest.approx(float(OFFSETS[wall]), rel=0.01)
        mine = found.labels == number
        assert (which.numpy()[rows[mine], columns[mine]] == wall).mean() > 0.99


def test_depth_that_cannot_be_aligned_is_left_out() -> None:
    batch, points = photographed()
    few = Points(points.positions[:5], points.colors[:5])
    assert lifted(batch, few, "affine") is None
    assert lifted(batch, few, "metric") is not None
    assert lifted(replace(batch, normal=None), points, "affine") is None
    with pytest.raises(ValueError, match="no photo has depth, normals and enough points"):
        scaffold_of([batch], few, "affine", Start(), 0, 100)


def sheet(normal: list[float], offset: float, centre: list[float], number: int) -> Sheet:
    """A square metre of a plane."""
    axes = plane_basis(np.array(normal))
    side = np.linspace(-0.5, 0.5, 15)
    u, v = (each.ravel() for each in np.meshgrid(side, side))
    places = np.array(centre) + u[:, None] * axes[:, 0] + v[:, None] * axes[:, 1]
    return Sheet(np.array(normal), offset, 100.0 - number, 2.0, places, [(number, 0)])


def test_planes_of_several_photos_become_one() -> None:
    up = [0.0, 0.0, 1.0]
    tilt = [0.0, np.sin(0.1), np.cos(0.1)]
    sheets = [
        sheet(up, 1.0, [0, 0, 1.0], 0),
        sheet(up, 1.02, [0.3, 0, 1.02], 1),  # the same, a little off
        sheet(tilt, np.cos(0.1), [0.4, 0, 1.0], 2),  # the same, a little turned
        sheet(up, 1.4, [0, 0, 1.4], 3),  # parallel: a table top
        sheet([0.0, 0.0, -1.0], -1.0, [0, 0, 1.0], 4),  # seen from the other side
        sheet(up, 1.0, [9.0, 0, 1.0], 5),  # of the same height, somewhere else
    ]
    found = merged_sheets(sheets)
    assert [each.members for each in found] == [
        [(0, 0), (1, 0), (2, 0)], [(3, 0)], [(4, 0)], [(5, 0)]
    ]  # fmt: skip
    assert found[0].normal[2] > np.cos(0.05) and 0.99 < found[0].offset < 1.02


def test_cells_of_planes_are_thinned_to_a_number() -> None:
    draw = np.random.default_rng(0)
    places = np.column_stack([draw.uniform(0, 4, (5000, 2)), np.full(5000, 3.0)])
    placed = Placed(places, places / 4, np.zeros(5000, np.int64), np.full(5000, 0.05))
    found = thinned(placed, np.array([[0.0, 0.0, 1.0]]), 200)
    assert 170 <= len(found.places) <= 200
    np.testing.assert_allclose(found.places[:, 2], 3)
    np.testing.assert_allclose(found.colors, found.places / 4)
    assert found.sizes[0] == pytest.approx(4 / 200**0.5, rel=0.1)
    assert len(thinned(placed, np.array([[0.0, 0.0, 1.0]]), 0).places) == 0
    far = replace(placed, places=np.concatenate([places[:-1], [[1e12, 0, 3.0]]]))
    assert len(thinned(far, np.array([[0.0, 0.0, 1.0]]), 200).places) <= 200


# The start, on the generated sweep.


@pytest.fixture(scope="module")
def sweep_folder(request: pytest.FixtureRequest) -> Path:
    """Ten photos of a room with depth and normals as networks guess them."""
    cache = request.config.cache
    assert cache is not None
    return sweep.cached(
        cache.mkdir("splat-sweep"), sweep.Plant(depth=True), count=10, width=80, height=60,
        points=800, samples=1,
    )  # fmt: skip


def job_on(folder: Path, strategy: Strategy, **more: Any) -> Any:
    options = Options(steps=20, device="cpu", max_side=0, exposure="off", sh_degree=1, **more)
    return closing(prepare(datasets.load(folder), strategy, options))


def test_flat_gaussians_lie_on_the_walls(
    sweep_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "splat")
    with job_on(sweep_folder, Adc(cap=4000), init=Path("planes")) as job:
        rows, frame = start_rows(job), job.run.frame
        assert all(torch.equal(a, b) for a, b in zip(rows.values(), start_rows(job).values(),
                                                     strict=True))  # fmt: skip
    assert "planes of 8 photos" in caplog.text
    assert 2000 < len(rows["mean"]) <= 3200
    scale = rows["log_scale"].exp()
    flat = scale[:, 2] < 0.5 * scale[:, 0]
    assert flat.float().mean() > 0.4
    torch.testing.assert_close(scale[flat, 2], 0.1 * scale[flat, 0])
    places = rows["mean"].double().numpy() / frame.scale + np.array(frame.centre)
    # The points of the scene are all there, and no disc is beside one of them.
    points = datasets.load(sweep_folder).points
    assert points is not None
    to_points = torch.cdist(torch.from_numpy(places), points.positions.double())
    assert float(to_points.amin(0).max()) < 1e-5
    assert (to_points.amin(1)[flat] > 0.499 * scale[flat, 0] / frame.scale).all()
    positions, normals, *_ = sweep.surface(30_000, 0)
    apart = torch.cdist(torch.from_numpy(places).float(), torch.as_tensor(positions).float())
    distance, number = apart.min(1)
    assert float(distance[flat].median()) < 0.05, "metres"
    axis = rotation_matrices(rows["quat"])[:, :, 2]
    cosine = (axis * torch.as_tensor(normals)[number].float()).sum(1).abs().clamp(0, 1)
    degrees = cosine.acos().rad2deg()[flat]
    # Beside edges the nearest surface is another one.
    assert float(degrees.median()) < 2 and float((degrees < 5).float().mean()) > 0.9


def test_planes_need_maps(tmp_path: Path, sweep_folder: Path) -> None:
    scene = datasets.load(sweep_folder, normals="none")
    options = Options(steps=5, device="cpu", init=Path("planes"))
    with pytest.raises(ValueError, match=r"init is planes, and .* has no normal maps; expected"):
        prepare(scene, Adc(), options)
    with pytest.raises(ValueError, match="has no depth maps"):
        prepare(datasets.load(write_colmap(tmp_path, shots())), Adc(), options)


@pytest.mark.parametrize("name", ["scaffold", "mcmc"])
def test_it_alters_any_method(sweep_folder: Path, name: str) -> None:
    from splat.loop import advance

    with job_on(sweep_folder, Lighthouse(METHODS[name]), init=Path("planes")) as job:
        own = ["flat", "smooth_normals", "depth_to_normal", "given_normal"]
        assert set(own) < set(job.run.objectives)
        assert job.run.objectives["given_normal"] == GivenNormal(0.05, steps=0)
        for _ in range(20):
            advance(job.run)
        cloud = job.run.model.cloud
        assert all(torch.isfinite(cloud[name]).all() for name in cloud.names)


# What it spares.


def test_large_opaque_rows_are_spared_and_faint_ones_go() -> None:
    opacity = torch.tensor([0.9, 0.51, 0.49, 0.9, 0.003, 0.003])
    scale = torch.tensor([0.5, 0.5, 0.5, 0.05, 0.5, 0.05])
    for strategy, counts, left in (
        (Adc(), {"drop:size": 3, "drop:opacity": 2}, 1),
        (Lighthouse(Adc()), {"drop:size": 1, "drop:opacity": 2}, 3),
        (Lighthouse(Adc(), spared=1.0), {"drop:size": 3, "drop:opacity": 2}, 1),
        (Lighthouse(Adc(), spared=0.95), {"drop:size": 3, "drop:opacity": 2}, 1),
    ):
        model = model_of(6, opacity, scale)
        strategy.begin(model)
        change = refined(strategy, step_of(model, 3100))
        assert change.counts == counts and change.after == left
        kept = model.cloud["opacity_logit"].detach().sigmoid().tolist()
        assert kept == pytest.approx([0.9, 0.51, 0.9] if left == 3 else [0.9])


def test_rows_are_spared_for_their_size_only() -> None:
    from parts import Killer

    for reason, left in (("size", 6), ("screen", 6), ("opacity", 5), ("before_scene", 5)):
        model = model_of(6, 0.9, 0.5)
        strategy = Lighthouse(Killer((2,), reason))
        assert refined(strategy, step_of(model, 100)).after == left
    anchors = step_of(model_of(6))
    edit = Edit(drop=(Drop(torch.tensor([0]), "size"),))
    assert Lighthouse(Killer()).altered(anchors, None) is None
    assert Lighthouse(Killer(), spared=1.0).altered(anchors, edit) is edit


# Its terms.


def test_flatness_is_the_mean_of_the_smallest_scales() -> None:
    scale = torch.tensor([[0.2, 0.1, 0.4], [0.3, 0.5, 0.7], [0.02, 9.0, 9.0]])
    step = step_of(model_of(3, 0.5, scale), visible=torch.tensor([True, True, False]), extent=2.0)
    gaussians = step.model(CAMERA, 0)
    step = replace(step, rendered=replace(step.rendered, gaussians=gaussians))
    assert float(Flat(10.0)(step).detach()) == pytest.approx(10 * (0.1 + 0.3) / 2 / 2)


def test_steady_normals_cost_nothing() -> None:
    normal = torch.zeros(12, 16, 3, dtype=torch.float64)
    normal[..., 2] = -1
    assert float(SmoothNormals(2.0)(looked(drawn_normal=normal))) == 0
    normal[:, 8:] = torch.tensor([0.0, -1, 0])  # one edge of twelve pixels, of 2 in L1
    found = SmoothNormals(2.0)(looked(drawn_normal=normal))
    assert float(found) == pytest.approx(2 * 12 * 2 / (12 * 16))
    alpha = torch.ones(12, 16)
    alpha[:6, 8] = 0.3  # where nothing is drawn, nothing counts
    found = SmoothNormals(2.0)(looked(drawn_normal=normal, alpha=alpha))
    assert float(found) == pytest.approx(2 * 6 * 2 / (12 * 16))


def consistent(depth: Tensor, normal: Tensor) -> Tensor:
    step: Step = looked(drawn=depth, drawn_normal=normal)
    return Consistent(0.2)(step)


def test_normals_agree_with_the_depth_of_a_plane() -> None:
    wall = torch.nn.functional.normalize(torch.tensor([0.2, 0.3, -1.0]), dim=0).double()
    depth = plane_depth(CAMERA, wall, -2.0)
    normal = (0.8 * wall).expand(12, 16, 3)  # blended over nothing: shorter
    assert float(consistent(depth, normal)) == pytest.approx(0, abs=1e-8)
    other = torch.tensor([0.0, 0.0, -1.0]).double().expand(12, 16, 3)
    angle = 1 - float(wall @ other[0, 0])
    assert float(consistent(depth, other)) == pytest.approx(0.2 * angle * 140 / 192, rel=1e-6)


def test_both_depth_and_normals_move() -> None:
    draw = torch.Generator().manual_seed(4)
    wall = torch.tensor([0.2, 0.3, -1.0])
    rough = 1 + 1e-3 * torch.rand(12, 16, generator=draw).double()
    depth = (plane_depth(CAMERA, wall, -2.0) * rough).requires_grad_()
    normal = torch.randn(12, 16, 3, generator=draw).double().requires_grad_()
    assert torch.autograd.gradcheck(consistent, (depth, normal), atol=1e-4, fast_mode=True)
