"""Harmonics kept as bfloat16: drawn, moved, edited, saved and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS, ends_with_and_without_a_break, job_of
from steps import CAMERA
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from splat import formats, kernels
from splat.core.cloud import Cloud
from splat.core.edit import Append, Assign, Drop, Edit, Nudge, Overwrite
from splat.core.model import Explicit
from splat.export.quantisation import Quantisation
from splat.kernels import Harmonics, HarmonicsGradient
from splat.options import Options
from splat.planning import memory
from splat.runs import checkpoint
from splat.training.prepare import _half_harmonics
from splat.types import Frame

BF16 = torch.bfloat16
SIZES = [(1, 16), (3, 4), (17, 9), (90, 16), (40, 1)]
"""Rows and coefficients: parts of a vector, whole ones, and rows too short for one."""


def rows_of(n: int, k: int = 16, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """In front of CAMERA, some beside it; harmonics that a bfloat16 holds exactly."""
    draw = torch.Generator().manual_seed(n)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    rows = {
        "mean": normal(n, 3) * 0.7 + torch.tensor([0, 0, 2.5]),
        "quat": normal(n, 4),
        "log_scale": normal(n, 3) * 0.3 - 1.2,
        "opacity_logit": normal(n) + 1,
        "sh": (normal(n, k, 3) * 0.5).to(BF16).double(),
    }
    return {name: values.to(dtype) for name, values in rows.items()}


def assert_whole(cloud: Cloud) -> None:
    """Every column has a row each, and so have its moments; only harmonics are bfloat16."""
    for name in cloud.names:
        assert len(cloud[name]) == len(cloud) and cloud[name].isfinite().all()
        assert (cloud[name].dtype == BF16) == (name == "sh")
        assert all(moment.shape == cloud[name].shape for moment in cloud.moments(name))


def model_of(n: int, harmonics: torch.dtype, **changed: Any) -> Explicit:
    given: dict[str, Any] = {"steps": 100, "sh_every": 0, "harmonics": harmonics} | changed
    return Explicit(rows_of(n), **given)


def drawn(sh: Tensor, rows: dict[str, Tensor], degree: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The picture, and the gradients of a weighted sum of it by everything but the colours."""
    leaves = {name: t.clone().requires_grad_() for name, t in rows.items() if name != "sh"}
    scales, opacities = kernels.activate(leaves["log_scale"], leaves["opacity_logit"])
    image, *_ = kernels.rasterize(
        leaves["mean"], leaves["quat"], scales, opacities, sh,
        CAMERA.world_to_camera, CAMERA.K, CAMERA.width, CAMERA.height, sh_degree=degree,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(5)
    weights = torch.rand(image.shape, generator=draw, dtype=torch.float64) + 0.1
    (image * weights.to(image.dtype)).sum().backward()
    return image.detach(), {name: t.grad for name, t in leaves.items() if t.grad is not None}


@pytest.mark.parametrize("n, k", SIZES)
def test_they_are_drawn_as_the_numbers_they_are(n: int, k: int, dtype: torch.dtype) -> None:
    """To the bit as the same numbers in full, forward and backward, in every degree."""
    rows = rows_of(n, k, dtype)
    for degree in range(round(k**0.5)):
        half, whole = Harmonics(rows["sh"].to(BF16)), Harmonics(rows["sh"])
        (image, gradients), (expected, others) = (drawn(sh, rows, degree) for sh in (half, whole))
        assert image.dtype == dtype and torch.equal(image, expected)
        assert n < 17 or image.any()
        assert set(gradients) == {"mean", "quat", "log_scale", "opacity_logit"}
        assert all(torch.equal(gradients[name], others[name]) for name in others)
        (mine,), (other,) = half.pending, whole.pending
        assert mine.factors.dtype == dtype and torch.equal(mine.factors, other.factors)
        assert half.grad is None


def test_a_dense_gradient_is_rounded_as_autograd_does(dtype: torch.dtype) -> None:
    rows = rows_of(90, 16, dtype)
    half = rows["sh"].to(BF16).requires_grad_()
    whole = rows["sh"].clone().requires_grad_()
    for sh in (half, whole):
        drawn(sh, rows, 3)
    assert half.grad is not None and whole.grad is not None and whole.grad.any()
    assert half.grad.dtype == BF16 and torch.equal(half.grad, whole.grad.to(BF16))


def test_colours_that_are_no_harmonics_are_refused() -> None:
    rows = rows_of(5, 1)
    with pytest.raises(ValueError, match=r"colors is torch\.bfloat16"):
        kernels.rasterize(
            rows["mean"], rows["quat"], rows["log_scale"].exp(), rows["opacity_logit"].sigmoid(),
            rows["sh"][:, 0].to(BF16), CAMERA.world_to_camera, CAMERA.K, 20, 20,
        )  # fmt: skip


def state(n: int, dtype: torch.dtype, moments: torch.dtype | None) -> tuple[Tensor, ...]:
    """Values that a bfloat16 holds, and two moments."""
    draw = torch.Generator().manual_seed(n)
    values, first, second = (torch.randn(n, 16, 3, generator=draw).to(BF16) for _ in range(3))
    kind = moments or dtype
    return values, first.to(kind), (second.float().square() + 0.1).to(BF16).to(kind)


def stepped(given: tuple[Tensor, ...], gradient: Any, **changed: Any) -> tuple[Tensor, ...]:
    values, first, second = (t.clone() for t in given)
    settings: dict[str, Any] = {"rate": 0.02, "tail": 0.05, "count": 7} | changed
    kernels.adam(values, gradient, first, second, **settings)
    return values, first, second


def factors_of(n: int, dtype: torch.dtype, degree: int = 3) -> HarmonicsGradient:
    draw = torch.Generator().manual_seed(n + 1)
    color, direction = torch.randn(2, n, 3, generator=draw, dtype=torch.float64)
    direction = torch.nn.functional.normalize(direction)
    return HarmonicsGradient(torch.cat([color, direction], 1).to(dtype), degree)


@pytest.mark.parametrize("moments", [None, BF16])
@pytest.mark.parametrize("n", [1, 5, 300])
def test_a_step_rounds_to_a_neighbour_and_keeps_the_rest(
    n: int, moments: torch.dtype | None, dtype: torch.dtype
) -> None:
    """Of what float values would become; moments are the same to the bit."""
    before = state(n, dtype, moments)
    values, first, second = stepped(before, factors_of(n, dtype))
    whole, expected_first, expected_second = stepped(
        (before[0].to(dtype), *before[1:]), factors_of(n, dtype)
    )
    assert torch.equal(first, expected_first) and torch.equal(second, expected_second)
    assert values.dtype == BF16
    # Towards zero by dropping bits, or one step of the last bit away from it.
    below = (whole.float().view(torch.int32) & -65536).view(torch.float32)
    above = ((whole.float().view(torch.int32) & -65536) + 65536).view(torch.float32)
    found = values.float()
    exact = whole.float() == below
    assert ((found == below) | ((found == above) & ~exact)).all()
    if n == 300:
        assert ((found == below) & ~exact).any() and ((found == above) & ~exact).any()


def test_roundings_are_right_in_the_mean(dtype: torch.dtype) -> None:
    n, rate = 4000, 3e-4
    values = torch.full((n, 16, 3), 0.75, dtype=BF16)
    first, second = (torch.zeros(n, 16, 3, dtype=dtype) for _ in range(2))
    kernels.adam(
        values, torch.ones(n, 16, 3, dtype=dtype), first, second, rate=rate, count=1
    )  # the first step of Adam is the rate itself
    assert values.unique().tolist() == [0.75 - 2**-8, 0.75]
    share = rate * 2**8
    noise = 2**-8 * (share * (1 - share) / values.numel()) ** 0.5
    assert abs(float(values.double().mean()) - (0.75 - rate)) < 4.5 * noise
    # Neighbours, and the two moments of an element, draw for themselves.
    moved = (values < 0.75).double().flatten() - share
    for lag in (1, 2, 3, 16, 48):
        assert abs(float((moved[lag:] * moved[:-lag]).mean())) < 5 * share / len(moved) ** 0.5


def test_steps_below_the_last_bit_add_up() -> None:
    """To the nearest, 1 - 2^-10 is 1 again however often; at random it gets where it should."""
    values = torch.ones(64, 16, 3, dtype=BF16)
    first, second = (torch.zeros(64, 16, 3) for _ in range(2))
    for count in range(1, 257):
        kernels.adam(values, torch.ones(64, 16, 3), first, second, rate=2**-10, count=count)
    assert (torch.ones(1) - 2**-10).to(BF16) == 1
    assert float(values.double().mean()) == pytest.approx(0.75, abs=0.002)


def test_a_step_depends_on_count_and_place_alone(threads: None) -> None:
    before, gradient = state(1801, torch.float32, BF16), factors_of(1801, torch.float32)
    kernels.set_threads(1)
    one = stepped(before, gradient)
    kernels.set_threads(3)
    for mine, other in zip(stepped(before, gradient), one, strict=True):
        assert torch.equal(mine, other)
    fewer = HarmonicsGradient(gradient.factors[:1001], 3)
    assert torch.equal(stepped(tuple(t[:1001] for t in before), fewer)[0], one[0][:1001])
    other_draw = stepped(before, gradient, count=8, betas=(0.9, 0.999))[0]
    assert (other_draw != one[0]).any()
    seen = torch.arange(1801) % 3 == 0
    some = stepped(before, gradient, visible=seen)[0]
    assert torch.equal(some[seen], one[0][seen]) and torch.equal(some[~seen], before[0][~seen])
    head = stepped(before, gradient, part="head")[0]
    assert torch.equal(head[:, 1:], before[0][:, 1:]) and (head[:, 0] != before[0][:, 0]).any()


def test_instruction_sets_round_alike() -> None:
    """What differs is the last bit of the arithmetic before, which seldom tips a rounding."""
    before, gradient = state(333, torch.float32, BF16), factors_of(333, torch.float32)
    found = []
    for isa in kernels.isas():
        with kernels.use_isa(isa):
            found.append(stepped(before, gradient)[0])
    for other in found[1:]:
        assert (other != found[0]).float().mean() < 2e-3


def test_dense_gradients_move_them_too() -> None:
    before, gradient = state(60, torch.float32, None), factors_of(60, torch.float32)
    found, expected = stepped(before, gradient.dense(16)), stepped(before, gradient)
    assert (found[0] != expected[0]).float().mean() < 2e-3
    rounded = stepped(before, gradient.dense(16).to(BF16))
    widened = stepped(before, gradient.dense(16).to(BF16).float())
    assert torch.equal(rounded[0], widened[0])
    with pytest.raises(ValueError, match=r"gradient is torch\.float16"):
        stepped(before, gradient.dense(16).half())


class Largest(TorchDispatchMode):
    """The most elements of a new tensor that any operation made, but for bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        found = function(*arguments, **(named or {}))
        for each in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(each, Tensor) and each.dtype != BF16:
                self.most = max(self.most, each.numel())
        return found


def test_no_float_copy_of_the_harmonics_is_made() -> None:
    n = 5000
    model = model_of(n, BF16, moments=BF16)
    with Largest() as largest:
        gaussians = model(CAMERA, 50)
        image, *_ = kernels.rasterize(
            gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities,
            gaussians.colors, CAMERA.world_to_camera, CAMERA.K, 20, 20, sh_degree=3,
        )  # fmt: skip
        image.sum().backward()
        model.cloud.optimize(0)
    assert n * 6 <= largest.most < n * 16, "factors of the gradient are the largest there are"


def test_edits_keep_the_type_and_the_numbers() -> None:
    model = model_of(12, BF16)
    cloud, before = model.cloud, rows_of(12)["sh"]
    assert cloud["sh"].dtype == BF16 and cloud.moments("sh")[0].dtype == torch.float32
    taken = cloud.rows(torch.tensor([3, 1]))
    assert taken["sh"].dtype == torch.float32 and torch.equal(taken["sh"], before[[3, 1]])
    other = cloud.rows(torch.tensor([7]))
    other["sh"] = other["sh"] * 0 + 1 / 3
    cloud.apply(
        Edit(
            append=(Append(taken, torch.tensor([3, 1]), "clone"),),
            assign=(Assign(torch.tensor([0]), other, "relocate"),),
            drop=(Drop(torch.tensor([2, 11]), "dark"),),
        )
    )
    assert_whole(cloud)
    assert isinstance(cloud["sh"], Harmonics) and cloud["sh"].dtype == BF16 and len(cloud) == 12
    assert torch.equal(cloud["sh"].detach()[-2:].float(), before[[3, 1]])
    assert (cloud["sh"].detach()[0] == torch.tensor(1 / 3, dtype=BF16)).all()
    now = cloud["sh"].detach().clone()
    cloud.reorder(torch.arange(11, -1, -1))
    assert torch.equal(cloud["sh"].detach(), now.flip(0))
    cloud.apply(Edit(nudge=(Nudge("sh", torch.full((12, 16, 3), 0.25)),)))
    assert torch.equal(cloud["sh"].detach(), (now.flip(0).float() + 0.25).to(BF16))
    cloud.apply(Edit(overwrite=(Overwrite("sh", torch.full((12, 16, 3), 0.1), "reset"),)))
    assert (cloud["sh"].detach() == torch.tensor(0.1, dtype=BF16)).all()


def test_states_go_into_models_of_either_type() -> None:
    half, whole = model_of(9, BF16), model_of(9, torch.float32)
    with torch.no_grad():
        half.cloud["sh"].mul_(0.5)
    whole.load_state_dict(half.state_dict())
    assert whole.cloud["sh"].dtype == torch.float32
    assert torch.equal(whole.cloud["sh"].detach(), half.cloud["sh"].detach().float())
    with torch.no_grad():
        whole.cloud["sh"].add_(1e-4)
    half.load_state_dict(whole.state_dict())
    assert torch.equal(half.cloud["sh"].detach(), whole.cloud["sh"].detach().to(BF16))
    assert Explicit(half.cloud.rows(torch.arange(9)), steps=1).cloud["sh"].dtype == torch.float32
    baked = half.bake()
    assert baked.colors.dtype == torch.float32
    assert torch.equal(baked.colors, half.cloud["sh"].detach().float())


def test_finishing_draws_what_the_file_holds() -> None:
    """The file's numbers, not these rounded to bfloat16; the gradient arrives all the same."""
    half, whole = model_of(40, BF16), model_of(40, torch.float32)
    finishing = Quantisation(".spz", Frame((0, 0, 0), 1), 0)
    mine, other = (finishing(model(CAMERA), 1) for model in (half, whole))
    assert torch.equal(mine.colors, other.colors)
    assert (mine.colors != mine.colors.to(BF16).float()).any()
    mine.colors.sum().backward()
    assert half.cloud["sh"].grad is not None and (half.cloud["sh"].grad == 1).all()


THRIFTY: dict[str, Any] = {"moments": "bfloat16", "harmonics": "bfloat16"}


@pytest.mark.parametrize("name", ["adc", "mcmc", "mrnf"])
def test_runs_repeat_and_resume_to_the_byte(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"adam": "visible", "harmonics_every": 4} if name == "mcmc" else {}
    one, two = ends_with_and_without_a_break(
        tiny_folder, tmp_path, METHODS[name], 31, 60, sh_every=8,
        watch=lambda run, *_: assert_whole(run.model.cloud), **THRIFTY, **more,
    )  # fmt: skip
    assert one == two
    rows = checkpoint.rows(checkpoint.load(tmp_path / "end.pt"))
    assert rows["sh"].dtype == BF16 and len(rows["sh"]) != 500, "no edit is among the steps"


def test_a_file_holds_them_as_they_are(tmp_path: Path) -> None:
    model = model_of(40, BF16)
    formats.write(model.bake(), tmp_path / "scene.ply")
    assert torch.equal(formats.read(tmp_path / "scene.ply").colors, model.bake().colors.float())


def test_what_cannot_keep_them_says_so(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="harmonics is 'half'; expected"):
        Options(harmonics="half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"harmonics is bfloat16, and anchors .* without"):
        job_of(tiny_folder, METHODS["scaffold"], steps=5, harmonics="bfloat16")
    with pytest.raises(ValueError, match="harmonics is bfloat16, and gsplat draws float32 only"):
        _half_harmonics(model_of(3, BF16), "gsplat")
    _half_harmonics(model_of(3, BF16), "native")


def test_the_plan_counts_what_they_save() -> None:
    plain, thrifty = (
        memory.state_bytes(Options(harmonics=kind), torch.device("cpu"))  # type: ignore[arg-type]
        for kind in ("float32", "bfloat16")
    )
    assert plain - thrifty == 48 * 2
    away = [
        memory.offloaded_bytes(Options(offload=True, adam="visible", **kinds))
        for kinds in ({}, {"harmonics": "bfloat16"}, THRIFTY)
    ]
    assert away == [(2 * 59 + 48) * 4, (2 * 59 + 24) * 4, (2 * 59 + 48) * 2]
