"""gsplat's strategies in our loop and ours in one of gsplat's: the same edits on the same cloud."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from steps import fill_moments, model_of, step_of
from torch import Tensor

import splat
from splat.compat import for_gsplat, from_gsplat
from splat.compat.names import NEEDED, ours_of, theirs_of
from splat.core.edit import Drop, Edit
from splat.core.model import Explicit, Making
from splat.core.strategy import Fixed, Strategy
from splat.datasets import demo
from splat.loop import stream
from splat.math import covariances, rotation_matrices
from splat.recipes.saved import description_of
from splat.runs.folder import Folder
from splat.strategies.adc import Adc
from splat.strategies.mcmc import Mcmc
from splat.strategies.significance import Significance

gsplat = pytest.importorskip(
    "gsplat", reason="gsplat, whose strategies these are, is not installed"
)

N, STEP, SIZE = 60, 700, 20
DEFAULT = {"refine_start_iter": 100, "refine_every": 100, "reset_every": 10**6}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gsplat has as CUDA kernels only, from the formulas: covariances, and eq. 9 of 3DGS as
    Markov chain Monte Carlo."""
    ops = gsplat.strategy.ops

    def covars(quats: Tensor, scales: Tensor, **_: Any) -> tuple[Tensor, None]:
        return covariances(quats, scales), None

    def relocated(
        opacities: Tensor, scales: Tensor, ratios: Tensor, binoms: Tensor
    ) -> tuple[Tensor, Tensor]:
        ratios.clamp_(min=1, max=len(binoms))
        new = 1 - (1 - opacities) ** (1 / ratios)
        wide = torch.zeros_like(opacities)
        for row, count in enumerate(ratios.tolist()):
            for i in range(1, count + 1):
                for k in range(i):
                    sign = (-1) ** k / math.sqrt(k + 1)
                    wide[row] += math.comb(i - 1, k) * sign * new[row] ** (k + 1)
        return new, scales * (opacities / wide)[:, None]

    monkeypatch.setattr(ops, "quat_scale_to_covar_preci", covars)
    monkeypatch.setattr(ops, "compute_relocation", relocated)
    # Theirs takes rotations of unit quaternions.
    monkeypatch.setattr(ops, "normalized_quat_to_rotmat", rotation_matrices)


def cloud_of(seed: int = 0) -> Explicit:
    """Rows of which some are large, some faint, some small."""
    draw = torch.Generator().manual_seed(seed)
    model = model_of(N, torch.rand(N, generator=draw) * 0.5 + 0.001, seed=seed)
    state = model.cloud.state_dict()
    scales = torch.rand(N, 1, generator=draw) * 0.03 + 0.001
    state["columns"]["log_scale"]["values"] = scales.expand(N, 3).log().clone()
    model.cloud.load_state_dict(state)
    fill_moments(model.cloud)
    return model


def theirs(model: Explicit) -> tuple[dict[str, torch.nn.Parameter], dict[str, Any]]:
    """The rows and their moments as gsplat's trainer has them."""
    cloud = model.cloud
    params = {name: torch.nn.Parameter(values) for name, values in theirs_of(
        {name: cloud[name] for name in cloud.names}).items()}  # fmt: skip
    moments = [theirs_of({n: cloud.moments(n)[k] for n in cloud.names}) for k in range(2)]
    optimizers = {}
    for name, values in params.items():
        optimizers[name] = torch.optim.Adam([{"params": [values], "lr": 1.6e-4, "name": name}])
        optimizers[name].state[values] = {
            "step": torch.tensor(700.0),
            "exp_avg": moments[0][name],
            "exp_avg_sq": moments[1][name],
        }
    return params, optimizers


def pictures(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Screen gradients [n, 2], pixels, and radii [n] of a picture."""
    draw = torch.Generator().manual_seed(seed)
    gradient = torch.randn(n, 2, generator=draw) * 3e-5
    return gradient, (torch.rand(n, generator=draw) * 9 - 1).clamp_min(0).ceil()


def info_of(gradient: Tensor, radii: Tensor, cameras: int = 1) -> dict[str, Any]:
    """As gsplat's rasterizer gives it, not packed."""
    screen = torch.zeros(cameras, len(radii), 2, requires_grad=True)
    screen.grad = gradient.expand(cameras, -1, -1) / cameras
    screen.retain_grad = lambda: None  # type: ignore[method-assign]
    return {
        "means2d": screen, "width": SIZE, "height": SIZE, "n_cameras": cameras,
        "radii": radii.int()[None, :, None].expand(cameras, -1, 2), "gaussian_ids": None,
    }  # fmt: skip


def assert_equal(model: Explicit, params: Any, optimizers: Any) -> None:
    cloud = model.cloud
    for name, values in ours_of(params).items():
        assert torch.equal(cloud[name].detach(), values), name
    for key, which in (("exp_avg", 0), ("exp_avg_sq", 1)):
        found = ours_of({n: optimizers[n].state[params[n]][key] for n in NEEDED})
        for name, values in found.items():
            assert torch.equal(cloud.moments(name)[which], values), (name, key)


def both(strategy: Any, steps: list[int], seed: int = 3) -> tuple[Explicit, Any, Any, Any, Any]:
    """The same steps of gsplat's strategy by itself and in our loop, on the same rows."""
    plain = cloud_of()
    params, optimizers = theirs(plain)
    ours = from_gsplat(strategy)
    rows = plain.cloud.rows(torch.arange(N))
    model: Any = ours.model(rows, Making(steps=30_000))
    fill_moments(model.cloud)
    ours.begin(model)
    scaled = "scene_scale" in strategy.initialize_state.__code__.co_varnames
    state = strategy.initialize_state(*([1.0] if scaled else []))
    strategy.check_sanity(params, optimizers)
    for number in steps:
        gradient, radii = pictures(len(model.cloud), number)
        half = torch.tensor([SIZE / 2, SIZE / 2])
        step = step_of(model, number + 1, gradient=gradient * half, radii=radii, seed=seed)
        torch.manual_seed(step.generator("gsplat").initial_seed())
        more = {"lr": model.cloud.rate("mean", number)} if hasattr(strategy, "noise_lr") else {}
        info = info_of(gradient, radii)
        strategy.step_post_backward(params, optimizers, state, number, info, **more)
        with torch.no_grad():
            change = model.apply(ours.refine(step))
        assert change.after == len(params["means"])
        assert_equal(model, params, optimizers)
    return model, params, optimizers, state, change


def test_default_edits_in_our_loop_as_by_itself() -> None:
    strategy = gsplat.DefaultStrategy(**DEFAULT, refine_scale2d_stop_iter=10**6, grow_scale2d=0.3)
    model, _, _, state, change = both(strategy, [597, 598, 599, 600, 650, 700])
    assert change.counts["append:gsplat"] > 5 and change.counts["drop:gsplat"] > 5
    for name in ("grad2d", "count", "radii"):
        assert torch.equal(model.state[name], state[name]), name


def test_default_resets_opacity_as_by_itself() -> None:
    class Resetting(gsplat.DefaultStrategy):
        """Theirs never resets: `step % self.reset_every == 0 & step > 0` is always False."""

        def step_post_backward(self, params: Any, optimizers: Any, **given: Any) -> None:
            gsplat.strategy.ops.reset_opa(params, optimizers, {}, 0.01)

    model = cloud_of()
    params, optimizers = theirs(model)
    gsplat.strategy.ops.reset_opa(params, optimizers, {}, 0.01)
    ours: Any = from_gsplat(Resetting())
    drawn: Any = ours.model(model.cloud.rows(torch.arange(N)), Making(steps=30_000))
    fill_moments(drawn.cloud)
    with torch.no_grad():
        change = drawn.apply(ours.refine(step_of(drawn, STEP)))
    assert change.counts == {"overwrite:gsplat": N}
    assert_equal(drawn, params, optimizers)


def test_mcmc_edits_in_our_loop_as_by_itself() -> None:
    strategy = gsplat.MCMCStrategy(cap_max=70, refine_start_iter=100, min_opacity=0.1)
    model, _, _, _, change = both(strategy, [599, 600, 601, 700])
    assert len(model.cloud) == 66 and change.counts["assign:gsplat"] > 3


def test_what_is_remembered_follows_the_rows() -> None:
    """Edits of another part, the order of rows, and a checkpoint."""
    ours = from_gsplat(gsplat.DefaultStrategy(**DEFAULT))
    model: Any = ours.model(cloud_of().cloud.rows(torch.arange(N)), Making(steps=30_000))
    gradient, radii = pictures(N, 1)
    with torch.no_grad():
        assert ours.refine(step_of(model, 5, gradient=gradient, radii=radii)) is None
        before = model.state["grad2d"].clone()
        assert before.count_nonzero() > 9
        gone = torch.tensor([0, 3, 59])
        model.apply(Edit(drop=(Drop(gone, "mine"),)))
        keep = torch.ones(N, dtype=torch.bool)
        keep[gone] = False
        assert torch.equal(model.state["grad2d"], before[keep])
        order = model.order_rows()
        assert torch.equal(model.state["grad2d"], before[keep][order])
    again: Any = ours.model(model.cloud.rows(torch.arange(57)), Making(steps=30_000))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.state["grad2d"], model.state["grad2d"])


def test_a_run_resumes_to_the_bit(tmp_path: Path) -> None:
    demo.write(tmp_path / "scene", views=6, width=40, height=30, samples=2, points=150)
    strategy = from_gsplat(
        gsplat.DefaultStrategy(refine_start_iter=5, refine_every=10, grow_grad2d=1e-4)
    )
    options = splat.Options(steps=36, seed=1, max_side=0, threads=1)
    watching = splat.Watching(checkpoint_every=15, keep=9, pictures=False, quiet=True)
    folder = Folder(tmp_path / "run")
    made = splat.train(
        tmp_path / "scene", strategy, options, out=folder.path, watching=watching, lpips=None
    )
    assert len(made.gaussians) != 150
    assert description_of(strategy)["fields"]["theirs"]["class"].startswith("gsplat.")
    last = folder.latest()
    bytes_of = last.read_bytes()
    last.unlink()
    splat.resume(folder.path, watching=watching, lpips=None)
    assert folder.latest() == last and last.read_bytes() == bytes_of


def one_there(
    strategy: Strategy, steps: list[int], cameras: int = 1, packed: bool = False
) -> tuple[Explicit, Any, Any]:
    """A strategy of ours by itself and in gsplat's loop, on the same rows."""
    alone = cloud_of()
    params, optimizers = theirs(alone)
    there = for_gsplat(strategy, seed=3, rate=lambda step: alone.cloud.rate("mean", step))
    there.check_sanity(params, optimizers)
    state = there.initialize_state(1.0)
    strategy.begin(alone)
    for number in steps:
        gradient, radii = pictures(len(alone.cloud), number)
        info = info_of(gradient, radii, cameras)
        if packed:
            info = _packed(info)
        there.step_pre_backward(params, optimizers, state, number, info)
        there.step_post_backward(params, optimizers, state, number, info, packed=packed)
        half = torch.tensor([SIZE / 2, SIZE / 2])
        step = step_of(alone, number + 1, gradient=gradient * half, radii=radii)
        object.__setattr__(
            step, "generator", lambda purpose, n=number: stream(3, n, purpose, torch.device("cpu"))
        )
        with torch.no_grad():
            for _ in range(cameras):
                strategy.observe(step)
            alone.apply(strategy.refine(step))
        assert_equal(alone, params, optimizers)
    return alone, params, state


def _packed(info: dict[str, Any]) -> dict[str, Any]:
    camera, row = (info["radii"] > 0).all(-1).nonzero().T
    screen = torch.zeros(len(row), 2, requires_grad=True)
    screen.grad = info["means2d"].grad[camera, row]
    screen.retain_grad = lambda: None  # type: ignore[method-assign]
    radii = info["radii"][camera, row]
    return {**info, "means2d": screen, "radii": radii, "gaussian_ids": row, "camera_ids": camera}


@pytest.mark.parametrize(("cameras", "packed"), [(1, False), (2, False), (1, True), (2, True)])
def test_adc_edits_in_their_loop_as_by_itself(cameras: int, packed: bool) -> None:
    strategy = Adc(refine_from=100, reset_every=650, revised_split=True)
    alone, params, state = one_there(strategy, [597, 598, 599, 649, 699], cameras, packed)
    assert len(alone.cloud) != N and params["means"].shape == (len(alone.cloud), 3)
    assert {*state["statistics"]} == {*alone.cloud.statistics}


def test_mcmc_edits_in_their_loop_as_by_itself() -> None:
    alone, params, _ = one_there(Mcmc(cap=64, dead=0.1), [598, 599, 600, 699])
    assert len(params["opacities"]) == len(alone.cloud) == 64


def test_an_optimizer_goes_on_with_the_new_rows() -> None:
    """As in gsplat's trainer: a step of Adam after an edit moves every row."""
    params, optimizers = theirs(cloud_of())
    there = for_gsplat(Adc(refine_from=100), steps=0)
    state = there.initialize_state(1.0)
    for number in (598, 599):
        info = info_of(*pictures(N, number))
        there.step_post_backward(params, optimizers, state, number, info)
    before = params["means"].detach().clone()
    assert len(before) != N
    params["means"].square().sum().backward()
    optimizers["means"].step()
    assert (params["means"] != before).any(1).all()
    there.step_post_backward(params, optimizers, state, 600, info_of(*pictures(len(before), 4)))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: from_gsplat(3), "int is no strategy of gsplat"),
        (lambda: _sane({"means": torch.nn.Parameter(torch.zeros(1, 3))}), "have no scales"),
        (lambda: _sane(None, optimizers={}), "expected one of each"),
        (lambda: _surveying(), "which gsplat's interface does not give"),
        (lambda: _without_gradient(), "means2d has no gradient"),
    ],
)
def test_what_does_not_fit_is_a_sentence(asked: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        asked()


def _sane(params: Any, optimizers: Any = None) -> None:
    whole, theirs_too = theirs(cloud_of())
    for_gsplat(Fixed()).check_sanity(
        whole if params is None else params, theirs_too if optimizers is None else optimizers
    )


def _surveying() -> None:
    params, optimizers = theirs(cloud_of())
    there = for_gsplat(Significance(base=Fixed(), at=(601,)))
    state = there.initialize_state()
    there.step_post_backward(params, optimizers, state, 600, info_of(*pictures(N, 1)))


def _without_gradient() -> None:
    params, optimizers = theirs(cloud_of())
    info = info_of(*pictures(N, 1))
    info["means2d"].grad = None
    there = for_gsplat(Fixed())
    there.step_post_backward(params, optimizers, there.initialize_state(), 600, info)
