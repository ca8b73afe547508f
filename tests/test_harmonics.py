"""Gradients of harmonics as factors, from the kernel to the step of a cloud."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from reference import close, sh_basis
from steps import CAMERA
from torch import Tensor

from splat import kernels
from splat.core.cloud import Cloud, Rate
from splat.core.edit import Append, Assign, Drop, Edit, Overwrite
from splat.core.model import Explicit
from splat.kernels import Harmonics, HarmonicsGradient
from splat.kernels.harmonics import basis

N = 90
RATE, TAIL = 2.5e-3, 0.05


def rows_of(n: int = N, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """In front of CAMERA and around it, some out of its sight, some too dark to be drawn."""
    draw = torch.Generator().manual_seed(n)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    rows = {
        "mean": normal(n, 3) * 0.9 + torch.tensor([0, 0, 2.5]),
        "quat": normal(n, 4),
        "log_scale": normal(n, 3) * 0.3 - 1.5,
        "opacity_logit": normal(n),
        "sh": normal(n, 16, 3) * 0.5,
    }
    return {name: values.to(dtype) for name, values in rows.items()}


def cloud_of(
    harmonics: bool, dtype: torch.dtype = torch.float32, moments: torch.dtype = torch.float32
) -> Cloud:
    cloud = Cloud(moments)
    for name, values in rows_of(dtype=dtype).items():
        rate = Rate(RATE, tail=TAIL) if name == "sh" else Rate(0.01)
        cloud.add(name, values, rate, harmonics=harmonics and name == "sh")
    return cloud


def loss_of(cloud: Cloud, degree: int, seed: int = 0) -> Tensor:
    """Of a picture with its own weights."""
    scales, opacities = kernels.activate(cloud["log_scale"], cloud["opacity_logit"])
    image, _, _, statistics = kernels.rasterize(
        cloud["mean"], cloud["quat"], scales, opacities, cloud["sh"],
        CAMERA.world_to_camera, CAMERA.K, CAMERA.width, CAMERA.height, sh_degree=degree,
    )  # fmt: skip
    assert 0 < int((statistics.radii > 0).sum()) < len(cloud)
    draw = torch.Generator().manual_seed(seed)
    weights = torch.randn(image.shape, generator=draw, dtype=torch.float64)
    return (image * weights.to(image.dtype)).sum()


@pytest.mark.parametrize("number", [torch.float64, torch.float32])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_basis_is_that_of_the_reference(degree: int, number: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    directions = torch.randn(500, 3, generator=draw, dtype=torch.float64)
    directions = torch.cat([torch.nn.functional.normalize(directions), torch.eye(3), -torch.eye(3)])
    found = basis(directions.to(number), degree)
    assert found.dtype == number
    bound = 1e-14 if number == torch.float64 else 1e-6
    expected = sh_basis(degree, directions)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_dense_is_what_autograd_finds(degree: int) -> None:
    draw = torch.Generator().manual_seed(1)
    color, direction = torch.randn(2, 40, 3, generator=draw, dtype=torch.float64)
    direction = torch.nn.functional.normalize(direction)
    color[::7], direction[::7] = 0, 0  # out of sight
    coefficients = torch.zeros(40, 16, 3, dtype=torch.float64, requires_grad=True)
    drawn = sh_basis(degree, direction)
    used = coefficients[:, : drawn.shape[1]]
    (torch.einsum("nk,nkc->nc", drawn, used) * color).sum().backward()
    found = HarmonicsGradient(torch.cat([color, direction], 1), degree).dense(16)
    torch.testing.assert_close(found, coefficients.grad, rtol=1e-13, atol=1e-13)
    assert not found[:, drawn.shape[1] :].any() and not found[::7].any()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradient_of_a_cloud_equals_the_plain_one(degree: int, dtype: torch.dtype) -> None:
    plain, factored = cloud_of(False, dtype), cloud_of(True, dtype)
    for cloud in (plain, factored):
        loss_of(cloud, degree).backward()
    assert isinstance(factored["sh"], Harmonics) and not isinstance(plain["sh"], Harmonics)
    assert factored["sh"].grad is None and len(factored["sh"].pending) == 1
    assert plain["sh"].grad is not None and plain["sh"].grad.any()
    bound = 1e-13 if dtype == torch.float64 else 1e-6
    close(factored.gradient("sh"), plain["sh"].grad, bound)
    for name in plain.names:
        if name != "sh":
            assert torch.equal(factored.gradient(name), plain.gradient(name)), name


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("seen_only", [False, True])
def test_a_step_with_factors_is_the_same_step(
    degree: int, seen_only: bool, dtype: torch.dtype
) -> None:
    plain, factored = cloud_of(False, dtype), cloud_of(True, dtype)
    before = rows_of(dtype=dtype)
    visible = torch.rand(N, generator=torch.Generator().manual_seed(5)) < 0.5
    for cloud in (plain, factored):
        loss_of(cloud, degree).backward()
        cloud.optimize(0, visible if seen_only else None)
        assert cloud.gradient("sh") is None
    assert not factored["sh"].pending
    bound = 1e-12 if dtype == torch.float64 else 1e-6
    drawn = (degree + 1) ** 2
    for name in plain.names:
        found, expected = factored[name].detach(), plain[name].detach()
        if name == "sh":
            # In units of the rate. Adding a step to a value of about 1 rounds that value.
            rounding = 2 * torch.finfo(dtype).eps
            apart = (found - expected).abs()
            assert (apart[:, 0] <= bound * RATE + rounding).all()
            assert (apart[:, 1:] <= bound * RATE * TAIL + rounding).all()
            for one, other in zip(factored.moments(name), plain.moments(name), strict=True):
                close(one, other, 10 * bound)
            assert torch.equal(found[:, drawn:], before[name][:, drawn:])
        else:
            assert torch.equal(found, expected)
        assert (found != before[name]).any()
        if seen_only:
            assert torch.equal(found[~visible], before[name][~visible])


def test_two_pictures_before_a_step_add_up(dtype: torch.dtype) -> None:
    plain, factored = cloud_of(False, dtype), cloud_of(True, dtype)
    for cloud in (plain, factored):
        loss_of(cloud, 3, seed=0).backward()
        loss_of(cloud, 1, seed=1).backward()
    bound = 1e-13 if dtype == torch.float64 else 1e-6
    assert len(factored["sh"].pending) == 2
    close(factored.gradient("sh"), plain["sh"].grad, bound)
    # A term of the loss on the coefficients themselves goes the usual way, and counts as well.
    for cloud in (plain, factored):
        cloud["sh"].square().sum().backward()
    assert factored["sh"].grad is not None
    close(factored.gradient("sh"), plain["sh"].grad, bound)
    for cloud in (plain, factored):
        cloud.optimize(0)
        assert cloud.gradient("sh") is None
    close(factored["sh"].detach(), plain["sh"].detach(), 10 * bound)


def append(cloud: Cloud) -> None:
    index = torch.tensor([4, 4, 1])
    cloud.apply(Edit(append=(Append(cloud.rows(index), index, "born"),)))


def drop(cloud: Cloud) -> None:
    cloud.apply(Edit(drop=(Drop(torch.arange(3, 20), "old"),)))


def reorder(cloud: Cloud) -> None:
    cloud.reorder(torch.arange(len(cloud)).flip(0))


def assign(cloud: Cloud) -> None:
    index = torch.tensor([7, 2])
    cloud.apply(Edit(assign=(Assign(index, cloud.rows(index.flip(0)), "moved", "zero"),)))


def overwrite(cloud: Cloud) -> None:
    cloud.apply(Edit(overwrite=(Overwrite("sh", cloud["sh"].detach() * 0.5, "reset"),)))


def reload(cloud: Cloud) -> None:
    cloud.load_state_dict(copy.deepcopy(cloud.state_dict()))


EDITS = [append, drop, reorder, assign, overwrite, reload]


@pytest.mark.parametrize("moments", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("edit", EDITS)
def test_edits_keep_the_kind_of_a_column_and_of_its_moments(
    edit: Callable[[Cloud], None], moments: torch.dtype
) -> None:
    cloud = cloud_of(True, moments=moments)
    loss_of(cloud, 3).backward()
    cloud.optimize(0)
    edit(cloud)
    for name in cloud.names:
        values = cloud[name]
        assert isinstance(values, Harmonics) is (name == "sh")
        assert values.is_leaf and values.requires_grad and values.dtype == torch.float32
        for moment in cloud.moments(name):
            assert moment.dtype == moments and moment.shape == values.shape
    before = cloud["sh"].detach().clone()
    loss_of(cloud, 3).backward()
    assert len(cloud["sh"].pending) == 1 and cloud["sh"].grad is None
    cloud.optimize(1)
    assert (cloud["sh"].detach() != before).any()


def test_moments_of_one_type_load_into_a_cloud_of_the_other() -> None:
    states = []
    for mine, other in ((torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)):
        saved, loaded = cloud_of(True, moments=mine), cloud_of(True, moments=other)
        for step in range(3):
            loss_of(saved, 3).backward()
            saved.optimize(step)
        loaded.load_state_dict(saved.state_dict())
        for name in saved.names:
            assert torch.equal(loaded[name], saved[name])
            for found, given in zip(loaded.moments(name), saved.moments(name), strict=True):
                assert found.dtype == other and given.dtype == mine
                assert torch.equal(found, given.to(other)) and given.any()
        loss_of(loaded, 3).backward()
        loaded.optimize(3)
        states.append(loaded)
    kept = states[0].state_dict()["columns"]["sh"]
    assert (kept["first"].dtype, kept["count"]) == (torch.bfloat16, 4)


def test_a_deep_copy_is_a_model_of_its_own() -> None:
    model = Explicit(rows_of(), steps=100)
    loss_of(model.cloud, 3).backward()
    other = copy.deepcopy(model)
    assert isinstance(other.cloud["sh"], Harmonics)
    assert other.cloud["sh"] is not model.cloud["sh"]
    before = model.cloud["sh"].detach().clone()
    loss_of(other.cloud, 3).backward()
    other.cloud.optimize(0)
    assert torch.equal(model.cloud["sh"], before) and (other.cloud["sh"] != before).any()
    assert len(model.cloud["sh"].pending) == 1, "one's gradient is not the other's"
    model.cloud.optimize(0)
    assert torch.equal(
        model.cloud["mean"] != rows_of()["mean"], other.cloud["mean"] != rows_of()["mean"]
    )


def test_frozen_coefficients_gather_no_gradients() -> None:
    cloud = cloud_of(True)
    cloud["sh"].requires_grad_(False)
    loss_of(cloud, 3).backward()
    assert not cloud["sh"].pending and cloud.gradient("sh") is None
    assert cloud["mean"].grad is not None and cloud["mean"].grad.any()


def varied(number: int) -> Tensor:
    """A gradient of the column "a" below, its own at each step."""
    draw = torch.Generator().manual_seed(number)
    return torch.randn(5, 4, 3, generator=draw)


def turns(tail_every: int) -> Cloud:
    cloud = Cloud()
    cloud.add("a", torch.zeros(5, 4, 3), Rate(0.1, tail=0.5, tail_every=tail_every))
    return cloud


def test_the_tail_moves_at_its_own_steps_as_far_as_its_own_count_has_it() -> None:
    cloud = turns(3)
    for number in range(1, 10):
        before = cloud["a"].detach().clone()
        cloud["a"].grad = torch.full((5, 4, 3), 0.25)
        cloud.optimize(number - 1)
        moved = cloud["a"].detach() - before
        # Of a constant gradient, with the correction of its count each step is the rate itself.
        torch.testing.assert_close(moved[:, 0], torch.full((5, 3), -0.1), rtol=1e-5, atol=0)
        tail = torch.full((5, 3, 3), -0.05 if number % 3 == 0 else 0.0)
        torch.testing.assert_close(moved[:, 1:], tail, rtol=1e-5, atol=0)


def test_the_tail_is_an_adam_of_its_own_on_the_gradients_it_takes() -> None:
    cloud = turns(3)
    leaf = torch.zeros(5, 3, 3, requires_grad=True)
    alone = torch.optim.Adam([leaf], lr=0.05, eps=1e-15)
    for number in range(1, 11):
        if number == 5:  # a run that is saved and goes on counts on
            cloud, before = turns(3), cloud
            cloud.load_state_dict(before.state_dict())
        cloud["a"].grad = varied(number)
        cloud.optimize(number - 1)
        if number % 3 == 0:
            leaf.grad = varied(number)[:, 1:].clone()
            alone.step()
        torch.testing.assert_close(cloud["a"][:, 1:], leaf, rtol=1e-5, atol=1e-6)
    whole = turns(1)
    for number in range(1, 11):
        whole["a"].grad = varied(number)
        whole.optimize(number - 1)
    assert torch.equal(whole["a"][:, 0], cloud["a"][:, 0]), "the head does not know of it"


def test_the_tail_of_a_model_takes_turns_with_factors_too() -> None:
    cloud = Cloud()
    for name, values in rows_of().items():
        rate = Rate(RATE, tail=TAIL, tail_every=2) if name == "sh" else Rate(0.01)
        cloud.add(name, values, rate, harmonics=name == "sh")
    for number in (1, 2, 3, 4):
        before = cloud["sh"].detach().clone()
        loss_of(cloud, 3).backward()
        cloud.optimize(number - 1)
        assert not cloud["sh"].pending
        moved = cloud["sh"].detach() != before
        assert moved[:, 0].any() and bool(moved[:, 1:].any()) is (number % 2 == 0)
