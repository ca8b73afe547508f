"""Score distillation: its gradient in closed form, a teacher left as it is, what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from steps import model_of, step_of, streams
from torch import Tensor

from splat.core.step import Step
from splat.dream.distill import Ball, Distilled, free_slots, nearness
from splat.dream.orbit import Orbit, angles, around
from splat.render import renderer_for
from splat.types import Batch, Camera, Needs


@dataclass
class Exact:
    """A teacher that knows all pictures to be normal, N(mean, spread^2), whatever the text; without
    one N(0, spread^2). `fixed` is what its signal is at any time; None: a cosine's."""

    mean: float = 0.7
    spread: float = 0.3
    size: int = 8
    fixed: float | None = None
    channels: int = 3
    background = (1.0, 1.0, 1.0)
    with_gradients: bool = False

    def read(self, text: str) -> str:
        return text

    def latent(self, picture: Tensor) -> Tensor:
        return picture

    def signal(self, time: float) -> float:
        return math.cos(time * math.pi / 2) ** 2 if self.fixed is None else self.fixed

    def noise(self, noisy: Tensor, time: float, texts: Sequence[str], camera: Camera) -> Tensor:
        self.with_gradients |= torch.is_grad_enabled() or noisy.requires_grad
        a = self.signal(time)
        means = [self.mean if text else 0.0 for text in texts]
        off = torch.stack([noisy - a**0.5 * mean for mean in means])
        return (1 - a) ** 0.5 * off / (a * self.spread**2 + 1 - a)


def shown(picture: Tensor, number: int = 0, **values: Tensor) -> Step:
    """A step that drew a picture [h, w, 3]."""
    step = step_of(model_of(3))
    size = picture.shape[0]
    batch = Batch(around(Ball(), 0.0, 0.0, size), torch.zeros(size, size, 3, dtype=torch.uint8))
    rendered = replace(step.rendered, image=picture, **values)
    return replace(step, number=number, batch=batch, rendered=rendered, generator=streams(number))


@pytest.mark.parametrize("signal", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_expected_gradient_is_that_in_closed_form(signal: float, scale: float) -> None:
    """D1. For N(mu, s^2) the exact noise is sqrt(1 - a) (x_t - sqrt(a) mu) / (a s^2 + 1 - a), so of
    w (e1 - e) the mean is w sqrt(a (1 - a)) (x - mu) / (a s^2 + 1 - a); guidance moves mu."""
    size, x = 256, 0.2
    teacher = Exact(size=size, fixed=signal)
    picture = torch.full((size, size, 3), x, requires_grad=True)
    term = Distilled(teacher, "any", scale=scale)
    term(shown(picture)).backward()
    assert picture.grad is not None
    found = picture.grad.double() * picture.numel()
    below = signal * teacher.spread**2 + 1 - signal
    gain = (1 - signal) * math.sqrt(signal * (1 - signal)) / below
    expected = gain * (x - scale * teacher.mean)
    error = float(found.std()) / math.sqrt(picture.numel())
    assert abs(float(found.mean()) - expected) < 3 * error
    # Noise is not all taken out: w a s^2 / (a s^2 + 1 - a) of it is left.
    left = (1 - signal) * signal * teacher.spread**2 / below
    assert float(found.std()) == pytest.approx(left, rel=0.02)


def test_descent_finds_the_mean() -> None:
    teacher = Exact()
    picture = torch.full((8, 8, 3), 0.2, requires_grad=True)
    term = Distilled(teacher, "any", scale=1.0, steps=400)
    for number in range(400):
        picture.grad = None
        term(shown(picture, number)).backward()
        with torch.no_grad():
            picture -= 0.3 * picture.numel() * picture.grad * (1 - number / 400)
    assert float(picture.detach().mean()) == pytest.approx(teacher.mean, abs=0.03)


def test_no_gradient_goes_into_the_teacher_and_noise_is_of_the_step() -> None:
    """D2, and what D3 stands on: a step's term is a function of seed, step and purpose."""
    teacher = Exact()
    picture = torch.rand(8, 8, 3, requires_grad=True)
    term = Distilled(teacher, "any")
    one, again = (torch.autograd.grad(term(shown(picture)), picture)[0] for _ in range(2))
    assert torch.equal(one, again) and not teacher.with_gradients
    later = torch.autograd.grad(term(shown(picture, 1)), picture)[0]
    other = torch.autograd.grad(replace(term, purpose="alone")(shown(picture)), picture)[0]
    assert not torch.equal(one, later) and not torch.equal(one, other)


def test_times_fall_from_most_to_last() -> None:
    term = Distilled(Exact(), "any", steps=100, most=0.9, last=0.4)
    assert [term.upper(step) for step in (0, 50, 100, 500)] == pytest.approx([0.9, 0.65, 0.4, 0.4])


def test_nearness_of_a_plane_across_the_middle_is_a_half() -> None:
    ball, camera = Ball((0.2, 0.0, 0.1), 0.5), around(Ball((0.2, 0.0, 0.1), 0.5), 1.0, 0.3, 8)
    far = float((camera.world_to_camera @ torch.tensor([0.2, 0, 0.1, 1]))[2])
    rendered = replace(
        step_of(model_of(3)).rendered,
        alpha=torch.tensor([[0.0, 1.0, 0.5, 1.0]]),
        depth=torch.tensor([[0.0, far, far, far - 0.5]]),
    )
    found = nearness(rendered, camera, ball)[0].tolist()
    assert found == pytest.approx([0, 0.5, 0.25, 1], abs=1e-5)


def test_depth_is_drawn_where_the_teacher_has_a_channel_for_it() -> None:
    deep = Distilled(Exact(channels=4), "any")
    assert deep.needs == Needs(depth=True) and Distilled(Exact(), "any").needs == Needs()
    depth = torch.full((8, 8), 1.0, requires_grad=True)
    step = shown(torch.rand(8, 8, 3), alpha=torch.ones(8, 8), depth=depth)
    assert float(torch.autograd.grad(deep(step), depth)[0].abs().min()) > 0


def test_only_free_rows_are_moved_by_a_picture_of_them() -> None:
    model = model_of(4, scale=0.05)
    with torch.no_grad():
        model.cloud["mean"].mul_(0.1)
    model.cloud.hold("body", torch.tensor([True, False, True, False]))
    camera = around(Ball(), 0.3, 0.2, 8)
    step = replace(
        shown(torch.zeros(8, 8, 3)), model=model, render=renderer_for("cpu"),
        batch=Batch(camera, torch.zeros(8, 8, 3, dtype=torch.uint8)),
    )  # fmt: skip
    step = replace(step, rendered=replace(step.rendered, gaussians=model(camera, 0)))
    Distilled(Exact(), "any", rows="free")(step).backward()
    moved = model.cloud["mean"].grad
    assert moved is not None
    assert (moved.abs().sum(1) > 0).tolist() == [False, True, False, True]
    free = torch.tensor([False, True])
    assert free_slots(free, torch.tensor([0, 1, 2, 3]), 2).tolist() == [False, False, True, True]


def test_cameras_look_at_the_middle_upright() -> None:
    ball = Ball((1.0, 2.0, 3.0), 0.5)
    camera = around(ball, 0.7, 0.4, 64)
    assert angles(camera) == pytest.approx((0.7, 0.4), abs=1e-6)
    turn = camera.world_to_camera[:3, :3].double()
    assert torch.linalg.det(turn).item() == pytest.approx(1, abs=1e-6)
    points = torch.tensor([[1.0, 2, 3, 1], [1, 2, 3.1, 1]]).T
    x, y, z, _ = (camera.world_to_camera @ points).double()
    assert x.tolist() == pytest.approx([0, 0], abs=1e-6)
    assert float(y[0]) == pytest.approx(0, abs=1e-6) and float(y[1]) < 0 < float(z[0])
    orbit = Orbit(ball, 16, seed=3)
    one, again = orbit(5), orbit(5)
    assert torch.equal(one.camera.world_to_camera, again.camera.world_to_camera)
    assert not torch.equal(one.camera.world_to_camera, orbit(6).camera.world_to_camera)
    heights = [angles(orbit.camera(i))[1] for i in range(200)]
    assert -0.21 < min(heights) < -0.1 and 0.7 < max(heights) < 0.91


def test_what_does_not_fit_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="16x16 pixels, and those of this run have 8x8"):
        Distilled(Exact(size=16), "any")(shown(torch.zeros(8, 8, 3)))
    with pytest.raises(ValueError, match="expected ends that are not below the beginning"):
        Distilled(Exact(), "any", least=0.6, last=0.5)
    with pytest.raises(ValueError, match="scale"):
        Distilled(Exact(), "any", scale=-1.0)
