"""Poses and exposures that are learned beside a scene."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Outcome
from jaxtyping import Float
from PIL import Image
from scipy.linalg import expm
from torch import Tensor

from splat import api, checkpoint, datasets, export
from splat.datasets import demo
from splat.evaluate import psnr
from splat.folder import read_config
from splat.job import Job, prepare
from splat.kernels import rasterize
from splat.math import sh_from_rgb
from splat.options import Options
from splat.prep.photos import exposure_value
from splat.render import renderer_for
from splat.run import Run, train
from splat.seed import frame_of, points_in_frame
from splat.sensor.baked import tone_of, toned
from splat.sensor.grids import Grids
from splat.sensor.held_out import HeldOutFit, halved, undeveloped
from splat.sensor.measured import by_exif, measured
from splat.sensor.newton import downhill, error
from splat.sensor.poses import FARTHEST, Poses, bend, exponential, turned
from splat.sensor.rows import RowAdam
from splat.sensor.sensor import POSES, TONE, Sensor, sensor_for
from splat.sensor.tones import Channels, Matrices, fitted, mapped
from splat.strategies.adc import Adc
from splat.strategies.mcmc import Mcmc
from splat.strategy import Fixed, Strategy
from splat.types import Batch, Camera, Gaussians, Needs, Rendered, SceneData

STOPS = (0.5, -0.4, 0.0, 0.3)
"""Exposures of photos, one after another."""


@pytest.fixture(scope="module")
def ring(request: pytest.FixtureRequest) -> Path:
    """The built-in scene in 30 pictures of 128 x 96 pixels; not to be written to."""
    cache = request.config.cache
    assert cache is not None
    return demo.cached(
        cache.mkdir("splat-demo"), views=30, width=128, height=96, samples=2, points=1500
    )


def exposed(folder: Path, out: Path, stops: tuple[float, ...] = STOPS) -> SceneData:
    """The scene with its photos brightened and darkened."""
    scene = datasets.load(folder)

    def changed(view, i):  # type: ignore[no-untyped-def]
        pixels = cv2.imread(str(view.image)).astype(np.float32) * 0.6
        path = out / f"{i}.png"
        cv2.imwrite(str(path), np.rint(pixels * 2 ** stops[i % len(stops)]).clip(0, 255))
        return replace(view, image=path)

    views = [*scene.train, *scene.test]
    made = [changed(view, i) for i, view in enumerate(views)]
    split = len(scene.train)
    return replace(scene, train=tuple(made[:split]), test=tuple(made[split:]))


def planted(scene: SceneData, size: float = 0.01) -> tuple[SceneData, list[Float[Tensor, "4 4"]]]:
    """The scene with training poses that are off, and the true ones."""
    generator = torch.Generator().manual_seed(3)
    extent = 1 / frame_of([view.camera for view in scene.train]).scale
    sizes = size * torch.tensor([1, 1, 1, 2 * extent, 2 * extent, 2 * extent])
    views, truth = [], []
    for view in scene.train:
        twist = sizes * torch.randn(6, generator=generator)
        pose = exponential(twist) @ view.camera.world_to_camera.float()
        truth.append(view.camera.world_to_camera)
        views.append(replace(view, camera=replace(view.camera, world_to_camera=pose)))
    return replace(scene, train=tuple(views)), truth


def blobs(count: int = 40, dtype: torch.dtype = torch.float32) -> Gaussians:
    """A wall of soft blobs with depth, before a camera at the origin."""
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    means = torch.cat([3 * drawn(count, 2) - 1.5, 2 + 2 * drawn(count, 1)], 1)
    return Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0], dtype=dtype).repeat(count, 1),
        scales=0.15 + 0.2 * drawn(count, 3),
        opacities=0.6 + 0.35 * drawn(count),
        colors=drawn(count, 3),
    )


def camera(width: int = 64, height: int = 48, pose: Tensor | None = None) -> Camera:
    K = torch.tensor([[60.0, 0, width / 2], [0, 60.0, height / 2], [0, 0, 1]])
    return Camera(torch.eye(4) if pose is None else pose, K, width, height)


def shown(rendered: Rendered, seen: Camera) -> Batch:
    pixels = rendered.image.detach().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Batch(seen, pixels)


class TestExponential:
    def test_is_that_of_matrices(self) -> None:
        twist = torch.tensor([0.3, -0.7, 0.2, 1.0, 2.0, -0.5], dtype=torch.float64)
        x, y, z, *shift = twist.tolist()
        generator = np.zeros((4, 4))
        generator[:3, :3] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
        generator[:3, 3] = shift
        np.testing.assert_allclose(exponential(twist).numpy(), expm(generator), atol=1e-12)

    @pytest.mark.parametrize("size", [0.0, 1e-5, 0.5])
    def test_has_the_right_derivative(self, size: float) -> None:
        start = size * torch.tensor([0.5, -1.0, 0.25, 0.3, 0.1, -0.2], dtype=torch.float64)
        assert torch.autograd.gradcheck(exponential, start.requires_grad_(), atol=1e-6)


class TestRowAdam:
    def test_only_rows_with_a_gradient_move_and_each_counts_its_own_steps(self) -> None:
        table = torch.nn.Parameter(torch.zeros(3, 2))
        optimizer = RowAdam([table], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (table[1] * torch.tensor([2.0, -3.0])).sum().backward()
            optimizer.step()
        # Of a constant gradient Adam makes steps of the rate, whatever its size.
        torch.testing.assert_close(table[1].detach(), torch.tensor([-0.3, 0.3]), rtol=1e-5, atol=0)
        assert table[0].abs().sum() == table[2].abs().sum() == 0
        optimizer.zero_grad()
        table[2].sum().backward()
        optimizer.step()
        torch.testing.assert_close(table[2].detach(), torch.tensor([-0.1, -0.1]))
        assert optimizer.state[table]["count"].tolist() == [0, 3, 1]

    def test_is_adam_for_one_row(self) -> None:
        generator = torch.Generator().manual_seed(0)
        gradients = torch.randn(5, 4, generator=generator)
        tables = [torch.nn.Parameter(torch.zeros(1, 4)) for _ in range(2)]
        optimizers = [
            RowAdam([tables[0]], lr=1e-2),
            torch.optim.Adam([tables[1]], lr=1e-2, eps=1e-15),
        ]
        for gradient in gradients:
            for table, optimizer in zip(tables, optimizers, strict=True):
                table.grad = gradient[None].clone()
                optimizer.step()
        torch.testing.assert_close(tables[0], tables[1])


class TestTones:
    @pytest.mark.parametrize("kind", [Channels, Matrices])
    def test_what_views_share_is_taken_out(self, kind: type[Channels]) -> None:
        tone = kind(4)
        tone.begin(torch.tensor([[2.0, 2.0, 2.0]]).repeat(4, 1))
        image = torch.rand(6, 8, 3)
        torch.testing.assert_close(tone(image, 2), image)
        tone.begin(torch.tensor([[4.0, 4, 4], [1, 1, 1], [1, 1, 1], [1, 1, 1]]))
        assert bool((tone(image, 0) > image).all()) and bool((tone(image, 1) < image).all())

    @pytest.mark.parametrize("kind", [Channels, Matrices])
    def test_the_map_is_what_is_applied(self, kind: type[Channels]) -> None:
        tone = kind(3)
        with torch.no_grad():
            tone.values.copy_(0.2 * torch.randn(tone.values.shape, generator=torch.Generator()))
        image = torch.rand(5, 7, 3)
        torch.testing.assert_close(mapped(image, tone.map(1)), tone(image, 1))

    @pytest.mark.parametrize("kind", [Channels, Matrices])
    def test_how_errors_bend_is_told_by_the_slopes(self, kind: type[Channels]) -> None:
        """Against slopes by autograd, colour by colour."""
        tone = kind(3).double()
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            tone.values.copy_(0.2 * torch.randn(tone.values.shape, generator=draw))
        scene, heavy = (torch.rand(2, 3, 3, generator=draw).double() for _ in range(2))
        developed = tone(scene, 1)
        expected = torch.zeros(tone.values.shape[1], tone.values.shape[1], dtype=torch.float64)
        for one, weight in zip(developed.flatten(), heavy.flatten(), strict=True):
            (slope,) = torch.autograd.grad(one, tone.values, retain_graph=True)
            expected += weight * slope[1].outer(slope[1])
        with torch.no_grad():
            found = tone.bent(developed.reshape(-1, 3), heavy.reshape(-1, 3), 1)
        torch.testing.assert_close(found, expected)

    def test_a_grid_maps_by_place_and_brightness(self) -> None:
        grids = Grids(1)
        with torch.no_grad():
            # The red gain rises to the right, by cells; blue's bias with brightness.
            grids.cells[0, 0] = torch.linspace(-0.3, 0.3, 16)[None, None, :]
            grids.cells[0, 11] = torch.linspace(-0.1, 0.1, 8)[:, None, None]
        image = torch.full((4, 30, 3), 0.5)
        found = grids(image, 0)
        x = (torch.arange(30) + 0.5) / 30
        torch.testing.assert_close(found[0, :, 0], 0.5 * (1 + 0.6 * x - 0.3), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[..., 1], image[..., 1])
        torch.testing.assert_close(found[..., 2], image[..., 2], atol=1e-5, rtol=0)
        bright = grids(torch.full((4, 30, 3), 0.9), 0)
        torch.testing.assert_close(bright[0, 0, 2].item(), 0.9 + 0.1 * 0.8, atol=1e-5, rtol=0)

    def test_a_background_keeps_its_colour(self) -> None:
        tone = Channels(2)
        tone.begin(torch.tensor([[2.0, 2, 2], [0.5, 0.5, 0.5]]))
        behind = torch.tensor([1.0, 0.5, 0.25])
        image = behind.expand(4, 4, 3).clone()
        found = renderer_for("cpu")(blobs(), camera(4, 4), Needs(), behind)
        empty = replace(found, image=image, alpha=torch.zeros(4, 4))
        developed = Sensor(tone=tone).developed(empty, replace(camera(4, 4), index=0), behind)
        torch.testing.assert_close(developed.image, image)


class TestFitted:
    """L4: the map that brings a picture to a photo."""

    @pytest.mark.parametrize("mixed", [False, True])
    def test_finds_what_was_planted_among_outliers(self, mixed: bool) -> None:
        generator = torch.Generator().manual_seed(2)
        image = 0.1 + 0.6 * torch.rand(40, 50, 3, generator=generator)
        tone = torch.tensor([[1.2, 0, 0, 0.02], [0, 0.9, 0, -0.03], [0, 0, 0.8, 0.05]])
        if mixed:
            tone[:, :3] += torch.tensor([[0, 0.05, 0], [0.03, 0, 0.02], [0, -0.04, 0]])
        photo = mapped(image, tone)
        photo[:8] = torch.rand(8, 50, 3, generator=generator)  # a fifth is of something else
        found = fitted(image, photo, mixed=mixed)
        torch.testing.assert_close(found, tone.double(), atol=2e-3, rtol=0)

    def test_is_the_identity_where_nothing_counts(self) -> None:
        image = torch.rand(10, 10, 3)
        found = fitted(image, image * 0.5, torch.zeros(10, 10))
        torch.testing.assert_close(found, torch.eye(3, 4, dtype=torch.float64))

    def test_is_taken_back_to_8_bits(self) -> None:
        pixels = torch.randint(60, 180, (5, 6, 3), dtype=torch.uint8)
        tone = torch.tensor([[1.1, 0, 0, 0.02], [0, 0.9, 0.1, 0], [0, 0, 1, -0.04]]).double()
        image = mapped(pixels.double() / 255, tone)
        batch = Batch(camera(6, 5), image.mul(255).round().to(torch.uint8))
        assert (undeveloped(batch, tone).pixels.int() - pixels.int()).abs().max() <= 1


class TestMeasured:
    def test_planted_exposures_are_found(self, tiny_folder: Path, tmp_path: Path) -> None:
        scene = exposed(tiny_folder, tmp_path)
        with_job(
            scene, Options(steps=1, device="cpu", exposure="off"), lambda job: check(job, scene)
        )

    def test_photos_that_are_alike_are_left_alone(self, tiny_folder: Path) -> None:
        scene = datasets.load(tiny_folder)

        def look(job: Job) -> None:
            assert job.options.exposure == "off" and job.run.sensor is None

        with_job(scene, Options(steps=1, device="cpu"), look)

    def test_without_points_exif_is_asked(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        exif = Image.Exif()
        exif.get_ifd(0x8769).update({0x829A: 1 / 64, 0x829D: 4.0, 0x8827: 200})
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, exif=exif)
        # log2(16 * 64) - 1
        assert exposure_value(path) == pytest.approx(9.0)
        assert exposure_value(tmp_path / "none.jpg") is None
        found = by_exif([9.0, 11.2, None])
        # The last takes the mean of the others; a stop of light is 1 / 2.2 of one of values.
        torch.testing.assert_close(found.gains.log2()[:, 0], torch.tensor([0.5, -0.5, 0.0]))
        assert found.known == 2 and found.differ
        assert not by_exif([None, None]).differ


def check(job: Job, scene: SceneData) -> None:
    assert scene.points is not None
    batches = [job.photos.batch(i) for i in range(len(job.photos))]
    found = measured(batches, points_in_frame(scene.points, job.run.frame))
    planted = torch.tensor([STOPS[i % 4] for i in range(len(batches))])
    torch.testing.assert_close(
        found.gains.log2().mean(1), planted - planted.mean(), atol=0.08, rtol=0
    )
    assert found.differ and found.known == len(batches)


def with_job(
    scene: SceneData,
    options: Options,
    look: Callable[[Job], None],
    strategy: Strategy | None = None,
) -> None:
    job = prepare(scene, strategy or Fixed(), options)
    try:
        look(job)
    finally:
        job.close()


class TestPoses:
    def test_the_curvature_predicts_the_loss(self) -> None:
        """So well that Newton's steps find a camera again, to a tenth."""
        render, gaussians = renderer_for("cpu"), blobs()
        photo = shown(render(gaussians, camera(), Needs(depth=True)), camera())
        offset = torch.tensor([0.004, -0.006, 0.003, 0.01, 0.006, -0.008])
        moved = camera(pose=exponential(offset))
        rendered = render(gaussians, moved, Needs(depth=True))
        curvature = bend(rendered, replace(photo, camera=moved))
        assert bool((torch.linalg.eigvalsh(curvature) > 0).all())
        pose = moved.world_to_camera
        for _ in range(12):
            twist = torch.zeros(6, requires_grad=True)
            seen = camera(pose=exponential(twist) @ pose)
            drawn = render(gaussians, seen, Needs(depth=True))
            error(drawn.image, photo.image).mean().backward()
            assert twist.grad is not None
            curvature = bend(drawn, replace(photo, camera=seen.detached()))
            pose = exponential(downhill(twist.grad, curvature, 1.0, FARTHEST)) @ pose
        before, after = (off(gaussians.means, place) for place in (moved.world_to_camera, pose))
        assert after < 0.1 * before, (before, after)

    @pytest.mark.slow
    def test_planted_drift_is_more_than_halved(self, ring: Path) -> None:
        """L3: errors of places and of turns, after what all poses share is taken out."""
        scene, truth = planted(datasets.load(ring))
        options = Options(steps=1500, device="cpu", refine_poses=True, exposure="off", max_side=96)

        def look(job: Job) -> None:
            before = list(job.run.views)
            train(job.run)
            assert job.run.sensor is not None
            after = [job.run.sensor.aim(view).detached() for view in before]
            wanted = [pose.clone() for pose in truth]
            scale = job.run.frame.scale
            wrong = [
                errors([c.world_to_camera for c in cs], wanted, scale) for cs in (before, after)
            ]
            assert wrong[1][0] < 0.5 * wrong[0][0] and wrong[1][1] < 0.5 * wrong[0][1], wrong

        with_job(scene, options, look, Mcmc(cap=4000))

    def test_gradients_reach_the_twist_of_the_view_alone(self) -> None:
        poses = Poses(3)
        seen = replace(camera(), index=1)
        rendered = renderer_for("cpu")(blobs(), Sensor(poses).aim(seen), Needs())
        rendered.image.square().mean().backward()
        assert poses.twists.grad is not None
        assert poses.twists.grad[1].abs().min() > 0
        assert poses.twists.grad[[0, 2]].abs().sum() == 0

    def test_the_gradient_is_the_derivative(self) -> None:
        """In float64, against differences, through the renderer's pose."""
        gaussians, seen = blobs(dtype=torch.float64), camera()
        weights = torch.rand(48, 64, 3, dtype=torch.float64, generator=torch.Generator())

        def loss(twist: Tensor) -> Tensor:
            image, *_ = rasterize(
                gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities,
                gaussians.colors, exponential(twist), seen.K.double(), 64, 48,
            )  # fmt: skip
            return (image * weights).sum()

        twist = torch.tensor([0.02, -0.01, 0.03, 0.05, -0.04, 0.02], dtype=torch.float64)
        twist.requires_grad_()
        loss(twist).backward()
        assert twist.grad is not None
        for i in range(6):
            h = torch.zeros(6, dtype=torch.float64)
            h[i] = 1e-6
            slope = float(loss(twist.detach() + h) - loss(twist.detach() - h)) / 2e-6
            assert float(twist.grad[i]) == pytest.approx(slope, rel=1e-4)


def off(points: Tensor, pose: Tensor) -> float:
    """Pixels that points are seen away from where a camera at the origin sees them."""

    def pixels(place: Tensor) -> Tensor:
        x, y, z = (points @ place[:3, :3].T + place[:3, 3]).unbind(1)
        return 60 * torch.stack([x / z, y / z], 1)

    return float((pixels(pose) - pixels(torch.eye(4))).norm(dim=1).mean())


def errors(
    found: list[Float[Tensor, "4 4"]], truth: list[Float[Tensor, "4 4"]], scale: float
) -> tuple[float, float]:
    """Root mean squares of what places (extents) and turns (degrees) are off, best alignment."""
    x, y = (
        torch.stack([-pose[:3, :3].double().T @ pose[:3, 3].double() for pose in poses])
        for poses in (found, truth)
    )
    x, y = x - x.mean(0), (y - y.mean(0)) * scale
    u, s, v = torch.linalg.svd(y.T @ x)
    sign = torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ v))], dtype=torch.float64))
    turn = u @ sign @ v
    size = float((s * sign.diagonal()).sum() / x.square().sum())
    places = (size * x @ turn.T - y).square().sum(1).mean().sqrt()
    u, _, v = torch.linalg.svd(
        sum(b[:3, :3].double().T @ a[:3, :3].double() for a, b in zip(found, truth, strict=True))
    )
    turn = u @ v
    turns = []
    for a, b in zip(found, truth, strict=True):
        whole = torch.eye(4, dtype=torch.float64)
        whole[:3, :3] = a[:3, :3].double() @ turn.T
        turns.append(turned(whole, b.double()))
    return float(places), math.sqrt(sum(t * t for t in turns) / len(turns))


class TestRuns:
    def test_exposures_are_recovered_up_to_what_all_share(self, ring: Path, tmp_path: Path) -> None:
        """L4, in training; and the scene is better for it where photos were never seen."""
        scene = exposed(ring, tmp_path)
        found = {}
        for exposure in ("off", "channel"):
            options = Options(steps=400, device="cpu", exposure=exposure, sh_degree=0)  # type: ignore[arg-type]
            result = api.train(
                scene,
                Adc(cap=1500),
                options,
                watchers=[lambda run, *_: kept(found, run)],
                lpips=None,
            )
            found[exposure] = result.metrics
        tone = found["run"].sensor.tone
        grey = torch.full((1, 1, 3), 0.35)
        gains = torch.stack([tone(grey, i)[0, 0] / grey[0, 0] for i in range(len(scene.train))])
        planted = torch.tensor([STOPS[i % 4] for i in range(len(gains))])
        stops = gains.detach().log2().mean(1)
        wrong = stops - stops.mean() - (planted - planted.mean())
        assert float(wrong.square().mean().sqrt()) < 0.08, wrong
        assert "left half" in found["channel"]["protocol"]
        assert found["channel"]["psnr"] > found["off"]["psnr"] + 3

    def test_resume_is_exact(self, tiny_folder: Path, tmp_path: Path) -> None:
        scene = exposed(tiny_folder, tmp_path)
        options = Options(steps=60, device="cpu", exposure="grid", refine_poses=True)

        def run(until: int, state: checkpoint.State | None = None) -> Path:
            job = prepare(scene, Mcmc(cap=1200), options, state)
            try:
                while job.run.step < until:
                    from splat.run import advance

                    advance(job.run)
                path = tmp_path / f"{until}-{state is None}.pt"
                checkpoint.save(job.run, path)
                return path
            finally:
                job.close()

        half = checkpoint.load(run(25))
        assert {POSES, TONE} <= set(half["modules"])
        assert run(60).read_bytes() == run(60, half).read_bytes()

    def test_a_run_with_a_sensor_serves_every_verb(
        self, tiny_folder: Path, splat: Callable[..., Outcome]
    ) -> None:
        done = splat(
            "train", tiny_folder, "--out", "run", "--steps", 40, "--exposure", "affine",
            "--refine-poses", "mcmc", "--cap", 800,
        )  # fmt: skip
        assert done.code == 0, done.said
        assert "exposure and pose of each held-out photo fitted" in done.said
        for verb in (
            ("eval", "run"),
            ("render", "run", "--out", "a", "--path", "views"),
            ("info", "run"),
        ):
            again = splat(*verb)
            assert again.code == 0, again.said

    @pytest.mark.gpu
    @pytest.mark.usefixtures("cuda_kernels")
    def test_on_cuda(self, tiny_folder: Path) -> None:
        options = Options(steps=40, device="cuda", exposure="grid", refine_poses=True)

        def look(job: Job) -> None:
            train(job.run)
            for part in job.run.modules.values():
                for values in part.module.parameters():
                    assert values.is_cuda and bool(values.isfinite().all())
                    assert float(values.abs().max()) > 0

        with_job(datasets.load(tiny_folder), options, look)

    def test_without_a_sensor_nothing_changes(self, tiny_folder: Path) -> None:
        assert sensor_for(5, 100) is None


def kept(found: dict[str, object], run: Run) -> None:
    found["run"] = run


class TestHeldOut:
    def test_finds_pose_and_exposure_on_the_left_half(self) -> None:
        render, gaussians = renderer_for("cpu"), blobs(80)
        true = camera(128, 96, exponential(torch.tensor([0.01, -0.015, 0.01, 0.03, 0.02, -0.02])))
        clean = render(gaussians, true, Needs()).image
        tone = torch.tensor([[1.2, 0, 0, 0.02], [0, 0.9, 0, -0.01], [0, 0, 1.1, 0.0]])
        pixels = mapped(clean, tone).clamp(0, 1).mul(255).round().to(torch.uint8)
        # Whatever stands in the right half must not matter to what is fitted.
        batch = Batch(camera(128, 96), pixels)
        fit = HeldOutFit(lambda _: gaussians, render, None, exposure=True, pose=True)
        seen = fit(batch)
        part, photo = seen.part()
        assert part.shape == (96, 64, 3)
        assert psnr(part, photo.image) > 38
        spoilt = pixels.clone()
        spoilt[:, 64:] = 0
        found, other = fit.found(batch), fit.found(replace(batch, pixels=spoilt))
        torch.testing.assert_close(found[1], other[1], atol=1e-6, rtol=0)
        torch.testing.assert_close(
            found[0].world_to_camera, other[0].world_to_camera, atol=1e-5, rtol=0
        )

    def test_half_a_photo_keeps_its_mask(self) -> None:
        mask = torch.ones(8, 10, dtype=torch.uint8)
        mask[0, 0] = 0
        batch = Batch(camera(10, 8), torch.zeros(8, 10, 3, dtype=torch.uint8), mask)
        small = halved(batch)
        assert small.camera.width == 5 and small.shrink == 2
        assert small.mask is not None and int((small.mask == 0).sum()) == 1


class TestBaked:
    def test_gaussians_take_over_a_map(self) -> None:
        gaussians = blobs()
        sh = torch.zeros(len(gaussians), 4, 3)
        sh[:, 0] = sh_from_rgb(0.3 + 0.4 * gaussians.colors)
        sh[:, 1:] = 0.05 * torch.randn(len(gaussians), 3, 3, generator=torch.Generator())
        tone = torch.tensor([[1.1, 0.05, 0, 0.02], [0, 0.9, 0, 0.03], [0, 0.1, 0.8, 0.01]])
        behind = torch.tensor([0.2, 0.3, 0.4])
        render = renderer_for("cpu")
        for whole in (gaussians, replace(gaussians, colors=sh, sh_degree=1)):
            plain = render(whole, camera(), Needs(), behind).image
            again = render(toned(whole, tone), camera(), Needs(), mapped(behind, tone)).image
            torch.testing.assert_close(again, mapped(plain, tone), atol=1e-5, rtol=0)

    def test_a_file_has_the_exposure_of_a_photo(
        self, tiny_folder: Path, tmp_path: Path, splat: Callable[..., Outcome]
    ) -> None:
        done = splat("train", tiny_folder, "--out", "run", "--steps", 20, "--exposure", "channel")
        assert done.code == 0, done.said
        state = checkpoint.load(next(Path("run/checkpoints").glob("*.pt")))
        names = [view.name for view in datasets.load(tiny_folder).train]
        wanted = tone_of(state["modules"], names, names[3])
        for name, extra in (("mean.ply", ()), ("own.ply", ("--exposure-of", names[3]))):
            assert splat("export", "run", "-o", name, *extra).code == 0
        mean, own = export.read(Path("mean.ply")), export.read(Path("own.ply"))
        torch.testing.assert_close(own.colors, toned(mean, wanted).colors, atol=1e-5, rtol=0)
        missing = splat("export", "run", "-o", "no.ply", "--exposure-of", "nobody.png")
        assert missing.code == 2 and "none of the 10 photos trained on" in missing.said

    def test_cameras_that_moved_are_written(
        self, tiny_folder: Path, splat: Callable[..., Outcome]
    ) -> None:
        done = splat("train", tiny_folder, "--out", "run", "--steps", 40, "--refine-poses")
        assert done.code == 0, done.said
        entries = json.loads(Path("run/cameras.json").read_text())["cameras"]
        assert all("given" in entry for entry in entries)
        moved = next(e for e in entries if e["given"] != e["world_to_camera"])
        config = read_config(Path("run/config.json"))
        given, placed = api.reread(config), api.reread(config, placed=Path("run/cameras.json"))
        for scene, wanted in ((given, "given"), (placed, "world_to_camera")):
            view = next(v for v in (*scene.train, *scene.test) if v.name == moved["name"])
            pose = view.camera.world_to_camera
            torch.testing.assert_close(pose.float(), torch.tensor(moved[wanted]))
