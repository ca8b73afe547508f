"""Rows kept away from the device that trains: brought, drawn, moved and put back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pretend
import pytest
import torch
from methods import METHODS, ends_with_and_without_a_break, job_of, state_of
from torch import Tensor

from splat.core import offload
from splat.core.cloud import Cloud
from splat.core.column import Rate
from splat.core.edit import Append, Drop, Edit
from splat.core.maps import Edge, Error
from splat.core.model import Explicit
from splat.core.offload import OffloadRenderer, rows_in_frustum
from splat.core.rates import Rates
from splat.kernels import Harmonics
from splat.loop import Run, train
from splat.options import Options
from splat.render import renderer_for
from splat.types import Batch, Camera, Gaussians, Needs

WIDTH, HEIGHT = 60, 44


def copied(values: Tensor) -> Tensor:
    """Stands for pinned memory: a copy of its own."""
    return values.detach().clone()


def camera_of(seed: int = 0) -> Camera:
    """Looks about along z, its principal point off the middle."""
    draw = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.eye(3) + 0.3 * torch.randn(3, 3, generator=draw))[0]
    pose = torch.eye(4)
    pose[:3, :3] = turn * torch.sign(turn.diagonal())
    if torch.det(pose[:3, :3]) < 0:
        pose[:3, :3] = torch.eye(3)
    pose[:3, 3] = torch.randn(3, generator=draw)
    K = torch.tensor([[50.0, 0, 22], [0, 47, 30], [0, 0, 1]])
    return Camera(pose, K, WIDTH, HEIGHT)


def rows_of(n: int, seed: int = 0) -> dict[str, Tensor]:
    """All around the camera: most of them are not in view."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    return {
        "mean": normal(n, 3) * 4,
        "quat": normal(n, 4),
        "log_scale": normal(n, 3) * 0.8 - 2.5,
        "opacity_logit": normal(n) + 1,
        "sh": normal(n, 16, 3) * 0.3,
    }


def model_of(n: int, keep: Any = None, **changed: Any) -> Explicit:
    return Explicit(rows_of(n), steps=100, sh_every=0, keep=keep, **changed)


@pytest.mark.parametrize("size", [-6.0, -2.5, 0.5])
def test_all_that_is_drawn_is_in_the_frustum(size: float) -> None:
    """For small and giant Gaussians, needles, near and far ones; a part of all where they fit."""
    render = renderer_for("cpu")
    share = []
    for seed in range(12):
        rows, camera = rows_of(1500, seed), camera_of(seed)
        rows["log_scale"] = rows["log_scale"] + 2.5 + size
        gaussians = Explicit(rows, steps=1)(camera)
        drawn = render(gaussians, camera).visible
        found = rows_in_frustum(gaussians.means, gaussians.scales, camera)
        assert drawn.any() and (found.diff() > 0).all()
        assert torch.isin(drawn.nonzero().squeeze(1), found).all()
        share.append(len(found) / len(drawn))
    assert size > 0 or max(share) < 0.45


def test_a_gaussian_is_brought_from_where_it_can_reach_the_picture() -> None:
    """By hand: focal 50 and depth 10, so 1 is 5 pixels; the slope is at most 0.6 + 0.18 across."""
    camera = Camera(torch.eye(4), torch.tensor([[50.0, 0, 30], [0, 50, 22], [0, 0, 1]]), 60, 44)
    reach = 3.4 * ((5.0 * 0.5) ** 2 * (1 + 0.78**2) + 1) ** 0.5 + 2  # pixels beyond the edge
    edge = (-reach - 30) / 5
    means = torch.tensor([[edge - 0.01, 0, 10], [edge + 0.01, 0, 10], [0, 0, -1], [0, 0, 0.1]])
    assert rows_in_frustum(means, torch.full((4, 3), 0.5), camera).tolist() == [1, 3]


def drawn(model: Explicit, needs: Needs = Needs(), seed: int = 0) -> tuple[Any, Tensor]:  # noqa: B008
    """A picture and a loss of it, by what the model wants to be drawn by."""
    render, camera = model.drawn_by(renderer_for("cpu")), camera_of(seed)
    rendered = render(model(camera), camera, needs, torch.tensor([0.1, 0.2, 0.3]))
    draw = torch.Generator().manual_seed(seed)
    loss = (rendered.image * torch.rand(rendered.image.shape, generator=draw)).sum()
    for extra in (rendered.depth, rendered.normal):
        if extra is not None:
            loss = loss + (extra * torch.rand(extra.shape, generator=draw)).sum()
    return rendered, loss


def test_pictures_and_all_that_is_said_of_them_are_the_same() -> None:
    needs = Needs(absolute_gradient=True, depth=True, normal=True, weights=(Error(), Edge()))
    draw = torch.Generator().manual_seed(3)
    photo = torch.randint(0, 256, (HEIGHT, WIDTH, 3), generator=draw, dtype=torch.uint8)
    batch = Batch(camera_of(), photo)
    plain, away = model_of(700), model_of(700, copied)
    assert isinstance(away.drawn_by(renderer_for("cpu")), OffloadRenderer)
    found = []
    for model in (plain, away):
        rendered, loss = drawn(model, needs)
        rendered.weigh(needs.weights, batch)
        loss.backward()
        found.append(rendered)
    one, other = found
    (brought,) = away.cloud["sh"].brought  # type: ignore[attr-defined]
    assert int(one.visible.sum()) < len(brought.rows) < 350
    for name in ("image", "alpha", "depth", "normal", "visible", "radii"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for absolute in (False, True):
        assert torch.equal(one.screen_gradient(absolute), other.screen_gradient(absolute))
    for each in needs.weights:
        assert one.weighted(each).any() and torch.equal(one.weighted(each), other.weighted(each))
    for name in plain.cloud.names:
        mine, theirs = plain.cloud.gradient(name), away.cloud.gradient(name)
        assert mine is not None and theirs is not None and mine.any()
        assert torch.equal(mine, theirs), name
    assert len(other.gaussians) == 700 and other.gaussians.colors is away.cloud["sh"]


def test_surveys_are_the_same() -> None:
    plain, away = model_of(700), model_of(700, copied)
    camera, found = camera_of(), []
    for model in (plain, away):
        seen: list[int] = []

        def weigh(rendered: Any, seen: list[int] = seen) -> Tensor:
            seen.append(len(rendered.visible))
            return rendered.image[..., :2]

        render = model.drawn_by(renderer_for("cpu"))
        found.append(render.survey(model(camera), camera, None, weigh))
        assert seen == [700]
    (one, scores), (other, others) = found
    assert torch.equal(one.image, other.image) and torch.equal(one.visible, other.visible)
    for name in ("mass", "hits", "transmitted", "most", "area", "squared", "weighted"):
        mine = getattr(scores, name)
        assert mine.any() and torch.equal(mine, getattr(others, name)), name
    assert not away.cloud["sh"].brought  # type: ignore[attr-defined]


@pytest.mark.parametrize("tail_every", [1, 2])
def test_steps_are_the_same_and_the_rest_stays(tail_every: int) -> None:
    rates = Rates(sh_tail_every=tail_every)
    plain, away = (model_of(500, keep, rates=rates) for keep in (None, copied))
    for step in range(6):
        for model in (plain, away):
            rendered, loss = drawn(model, seed=step)
            loss.backward()
            model.cloud.optimize(step, rendered.visible)
            assert model.cloud.gradient("sh") is None
    for name in plain.cloud.names:
        assert torch.equal(plain.cloud[name], away.cloud[name]), name
        for mine, other in zip(plain.cloud.moments(name), away.cloud.moments(name), strict=True):
            assert mine.any() and torch.equal(mine, other), name
    still = plain.cloud.moments("sh")[1].flatten(1).sum(1) == 0
    assert still.any() and torch.equal(away.cloud["sh"][still], rows_of(500)["sh"][still])


def test_gradients_of_several_pictures_add_up() -> None:
    plain, away = model_of(400), model_of(400, copied)
    for model in (plain, away):
        seen = torch.zeros(400, dtype=torch.bool)
        for seed in (1, 2):
            rendered, loss = drawn(model, seed=seed)
            loss.backward()
            seen |= rendered.visible
        gradient = model.cloud.gradient("sh")
        assert gradient is not None and gradient.shape == (400, 16, 3)
        model.cloud.optimize(0, seen)
    torch.testing.assert_close(plain.cloud["sh"], away.cloud["sh"], rtol=0, atol=1e-7)
    whole, _ = drawn(away), away.cloud["sh"].square().sum().backward()
    whole[1].backward()
    mine = away.cloud.gradient("sh")
    drawn(plain)[1].backward()
    plain.cloud["sh"].square().sum().backward()
    other = plain.cloud.gradient("sh")
    assert mine is not None and other is not None
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_rows_out_of_sight_cannot_move() -> None:
    cloud = Cloud(keep=copied)
    cloud.add("sh", torch.zeros(4, 1, 3), Rate(0.1), harmonics=True)
    cloud["sh"].sum().backward()
    with pytest.raises(ValueError, match="say which are visible"):
        cloud.optimize(0)


def test_what_is_kept_is_copied_there_after_every_edit() -> None:
    kept: dict[int, Tensor] = {}

    def keep(values: Tensor) -> Tensor:
        found = copied(values)
        kept[found.data_ptr()] = found
        return found

    def check(cloud: Cloud) -> None:
        for name in cloud.names:
            assert all(moment.data_ptr() in kept for moment in cloud.moments(name))
            assert (cloud[name].data_ptr() in kept) == isinstance(cloud[name], Harmonics)

    model = model_of(30, keep)
    check(model.cloud)
    some = torch.tensor([4, 7])
    taken = model.cloud.rows(some)
    model.apply(Edit(append=(Append(taken, some, "clone"),), drop=(Drop(some, "dark"),)))
    check(model.cloud)
    assert torch.equal(model.cloud["sh"].detach()[-2:], rows_of(30)["sh"][some])
    model.order_rows()
    check(model.cloud)
    state = model.state_dict()
    model.load_state_dict(state)
    check(model.cloud)
    baked = model.bake()
    assert isinstance(baked, Gaussians) and not baked.colors.requires_grad


@pytest.mark.parametrize("name", ["adc_revised", "mcmc", "mrnf", "adc_significance", "taming"])
def test_runs_end_alike_and_resume(
    name: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte as `--adam visible` alone, whatever a strategy asks and does."""
    strategy, brought, ends = METHODS[name], list[float](), list[tuple[bytes, Tensor]]()

    def noted(*given: Any) -> Tensor:
        found = rows_in_frustum(*given)
        brought.append(len(found) / len(given[0]))
        return found

    monkeypatch.setattr(offload, "kept_by", lambda device: copied)
    monkeypatch.setattr(offload, "rows_in_frustum", noted)

    def watch(run: Run, *_: Any) -> None:
        if run.over:
            drawn = run.last_render(run.baked(), run.views[0]).image
            ends.append((state_of(run), drawn))

    with closing(job_of(tiny_folder, strategy, steps=60, adam="visible")) as plain:
        assert isinstance(plain.run.model, Explicit)
        plain.run.model.sh_every = 8
        rows = len(plain.run.model.cloud)
        train(plain.run)
        assert len(plain.run.model.cloud) != rows, "no edit is among the steps"
        expected = state_of(plain.run)
        image = plain.run.last_render(plain.run.baked(), plain.run.views[0]).image
    assert not brought
    one, two = ends_with_and_without_a_break(
        tiny_folder, tmp_path, strategy, 31, 60, sh_every=8, watch=watch, adam="visible",
        offload=True,
    )  # fmt: skip
    assert len(brought) >= 60 and min(brought) < 1
    ((found, drawn),) = ends
    assert found == expected and torch.equal(drawn, image)
    assert one == two, "a resumed run differs"


def test_moments_in_bfloat16_repeat(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roundings are drawn by the place among what was brought: not as elsewhere, but for good."""
    monkeypatch.setattr(offload, "kept_by", lambda device: copied)
    found = []
    for _ in range(2):
        given: dict[str, Any] = {"moments": "bfloat16", "harmonics": "bfloat16"}
        with closing(
            job_of(tiny_folder, METHODS["mcmc"], steps=25, adam="visible", offload=True, **given)
        ) as job:
            train(job.run)
            assert job.run.model.cloud.moments("sh")[0].dtype == torch.bfloat16
            found.append(state_of(job.run))
    assert found[0] == found[1]


def test_what_cannot_be_is_refused(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="adam is all; add --adam visible"):
        Options(offload=True)
    with pytest.raises(ValueError, match="leave one of the two out"):
        Options(offload=True, adam="visible", finish_for=".spz")
    with pytest.raises(ValueError, match="the device is cpu; leave it out"):
        job_of(tiny_folder, METHODS["adc"], steps=5, adam="visible", offload=True)
    monkeypatch.setattr(offload, "kept_by", lambda device: copied)
    with pytest.raises(ValueError, match="not anchors of this method; leave it out"):
        job_of(tiny_folder, METHODS["scaffold"], steps=5, adam="visible", offload=True)


@pytest.mark.gpu
def test_on_cuda_it_is_as_without(cuda_kernels: None) -> None:
    """Harmonics and moments lie in pinned memory; what trains is what trains without."""
    device = torch.device("cuda")
    render, found = renderer_for("cuda", renderer=pretend.quick_renderer()), []
    for keep in (None, offload.kept_by(device)):
        rows = {name: values.to(device) for name, values in rows_of(2000).items()}
        model = Explicit(rows, steps=100, sh_every=0, keep=keep)
        draws = model.drawn_by(render)
        for step in range(6):
            camera = camera_of(step).to(device)
            rendered = draws(model(camera), camera)
            rendered.image.square().sum().backward()
            model.cloud.optimize(step, rendered.visible)
        found.append(model)
    plain, away = found
    assert away.cloud["sh"].is_pinned() and not away.cloud["mean"].is_pinned()
    assert all(moment.is_pinned() for moment in away.cloud.moments("mean"))
    assert away.bake().colors.device.type == "cpu"
    for name in plain.cloud.names:
        mine, other = plain.cloud[name].detach().cpu(), away.cloud[name].detach().cpu()
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)
