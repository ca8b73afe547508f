"""Poses that are learned beside a scene."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from scipy.linalg import expm
from sensor_parts import blobs, camera, planted, shown, with_job
from torch import Tensor

from splat import datasets
from splat.kernels import rasterize
from splat.loop import train
from splat.options import Options
from splat.render import renderer_for
from splat.sensor.newton import downhill, huber_error
from splat.sensor.poses import FARTHEST, Poses, angle_between, bend, exponential
from splat.sensor.sensor import Sensor
from splat.strategies.mcmc import Mcmc
from splat.training.prepare import Job
from splat.types import Needs


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
            huber_error(drawn.image, photo.image).mean().backward()
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
            assert not job.run.sensor.idle
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
        turns.append(angle_between(whole, b.double()))
    return float(places), math.sqrt(sum(t * t for t in turns) / len(turns))


def off(points: Tensor, pose: Tensor) -> float:
    """Pixels that points are seen away from where a camera at the origin sees them."""

    def pixels(place: Tensor) -> Tensor:
        x, y, z = (points @ place[:3, :3].T + place[:3, 3]).unbind(1)
        return 60 * torch.stack([x / z, y / z], 1)

    return float((pixels(pose) - pixels(torch.eye(4))).norm(dim=1).mean())
