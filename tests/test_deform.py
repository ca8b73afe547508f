"""A field that deforms Gaussians: what it begins as, what it does, and runs of clips by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS, clip_run, ends_with_and_without_a_break
from torch import Tensor

from splat import results as files
from splat.conformance.checks import check_strategy
from splat.core.edit import Drop, Edit
from splat.core.model import Explicit, Making, Model
from splat.core.score import scores, significance, survey
from splat.core.strategy import Strategy
from splat.math import ALWAYS
from splat.recipes.recipe import strategy_from_text
from splat.recipes.restored import model_of
from splat.render.native import NativeRenderer
from splat.runs import checkpoint
from splat.runs.folder import Folder, read_config
from splat.strategies.deform import Deform
from splat.strategies.deform.field import DeformationField, Sizes, box_of
from splat.strategies.deform.lazy import LazyAdam, _by_torch
from splat.strategies.deform.model import NAME, PIECES, Deformed, _in_pieces
from splat.strategies.moving.model import Timed
from splat.types import Batch, Camera, Gaussians

SIZES = Sizes(sides=(4, 8), instants=3, channels=16, width=16, opacity=True)


def camera(time: float) -> Camera:
    pose = torch.eye(4)
    pose[2, 3] = 4.0
    return Camera(pose, torch.tensor([[50.0, 0, 20], [0, 50, 20], [0, 0, 1]]), 40, 40, time=time)


def field(sizes: Sizes = SIZES) -> DeformationField:
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    return DeformationField(box, sizes, torch.Generator().manual_seed(3))


def rows(n: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(n)
    return {
        "mean": torch.rand(n, 3, generator=draw) - 0.5,
        "quat": torch.randn(n, 4, generator=draw),
        "log_scale": torch.full((n, 3), -2.0),
        "opacity_logit": torch.linspace(-2, 2, n),
        "sh": torch.zeros(n, 1, 3),
    }


class Straight(DeformationField):
    """Moves what lies at x by (1, 2, 3) x a clip, and grows it by 0.2 a clip."""

    def forward(self, means: Tensor, time: float, plain: bool = False) -> Tensor:
        way = means.detach()[:, :1] * torch.tensor([1.0, 2.0, 3.0]) * (time - 0.5)
        said = means.new_zeros(len(means), sum(self.outputs))
        said[:, :3], said[:, 3:6] = way, 0.2 * (time - 0.5)
        return said


def straight(base: Model) -> Deformed:
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    moved = Straight(box, Sizes((4,), 2, 16, 16), torch.Generator().manual_seed(0))
    base.beside[NAME] = moved.trained((1e-3, 1e-3), (1e-3, 1e-3), 10)
    return Deformed(base, moved, coarse=5)


def test_it_begins_by_changing_nothing_but_learns_at_once() -> None:
    base, learned = Explicit(rows(20), steps=10), field()
    plain = base(camera(0.2))
    for name, values in vars(learned.deformed(plain, 0.2)).items():
        if isinstance(values, Tensor):
            torch.testing.assert_close(values, getattr(plain, name))
    learned.deformed(plain, 0.2).means.sum().backward()
    assert learned.last.grad is not None and bool(learned.last.grad.any())


def test_what_the_heads_say_is_added() -> None:
    learned = field()
    with torch.no_grad():  # biases alone: the same of all
        learned.last[-1] = torch.tensor([0.1, 0.2, 0.3, 0.5, 0, -0.5, 0, 1, 0, 0, 2.0])
    plain = Explicit(rows(9), steps=10)(camera(0.0))
    changed = learned.deformed(plain, 0.7)
    torch.testing.assert_close(changed.means, plain.means + torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(changed.scales, plain.scales * torch.tensor([0.5, 0.0, -0.5]).exp())
    torch.testing.assert_close(changed.quats, plain.quats + torch.tensor([0.0, 1, 0, 0]))
    torch.testing.assert_close(changed.opacities.logit(), plain.opacities.logit() + 2)


def test_where_and_when_are_told_apart() -> None:
    learned = field()
    with torch.no_grad():
        learned.last.normal_(generator=torch.Generator().manual_seed(0))
        for planes in (*learned.space, *learned.times):
            planes.add_(0.3 * torch.randn(planes.shape, generator=torch.Generator().manual_seed(1)))
    points = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
    at = [learned(points, time) for time in (0.0, 0.5, 1.0)]
    assert len({tuple(row.tolist()) for said in at for row in said}) == 12
    # What lies outside of the box is told as its border is; time goes from the first to the last.
    torch.testing.assert_close(learned(torch.tensor([[9.0, 0, 0]]), 0.5),
                               learned(torch.tensor([[1.0, 0, 0]]), 0.5))  # fmt: skip


def test_roughness_by_hand() -> None:
    learned = field(Sizes((3,), 3, 16, 16))
    with torch.no_grad():
        learned.space[0].fill_(1.0)
        learned.space[0][1, 1, :, 4] = 3.0  # one bend of 4 down each of three columns
        learned.times[0][0, 1, 2, 0] = 1.5  # one bend of 1
    down = 3 * 16 / (3 * 1 * 3 * 16)
    time = 1.0 / (3 * 1 * 3 * 16)
    away = 0.5 / (3 * 3 * 3 * 16)
    found = float(learned.roughness(2.0, 3.0, 5.0).detach())
    assert found == pytest.approx(2 * 0.5 * down + 3 * time + 5 * away, rel=1e-5)


def test_lazy_adam_leaves_alone_what_was_not_touched() -> None:
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(3, 5, 16, generator=draw)
    lazy, eager = (torch.nn.Parameter(start.clone()) for _ in range(2))
    ours = LazyAdam([{"params": [lazy], "lr": 0.1, "lazy": True}])
    theirs = torch.optim.Adam([eager], lr=0.1, eps=1e-15)
    for _ in range(4):
        gradient = torch.randn(3, 5, 16, generator=draw)
        lazy.grad = gradient.clone()
        lazy.grad[1] = 0
        eager.grad = gradient
        ours.step()
        theirs.step()
    torch.testing.assert_close(lazy[::2], eager[::2], rtol=1e-5, atol=1e-6)
    assert torch.equal(lazy[1], start[1]) and not ours.state[lazy]["exp_avg"][1].any()


def test_adam_elsewhere_is_that_of_the_kernels() -> None:
    draw = torch.Generator().manual_seed(0)
    values, gradient, first = (torch.randn(6, 16, generator=draw) for _ in range(3))
    second, touched = torch.rand(6, 16, generator=draw), torch.arange(6) != 2
    ours, others = ([t.clone() for t in (values, first, second)] for _ in range(2))
    settings = {"rate": 0.1, "count": 3, "betas": (0.9, 0.999), "epsilon": 1e-15}
    from splat import kernels

    kernels.adam(ours[0], gradient, *ours[1:], visible=touched, **settings)  # type: ignore[arg-type]
    _by_torch(others[0], gradient, *others[1:], touched, **settings)  # type: ignore[arg-type]
    for one, other in zip(ours, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_the_first_steps_are_of_the_base() -> None:
    model = straight(Explicit(rows(10), steps=10))
    plain = model.cloud["mean"]
    assert torch.equal(model(camera(1.0), 4).means, plain)
    torch.testing.assert_close(
        model(camera(1.0), 5).means, plain + plain[:, :1] * torch.tensor([0.5, 1.0, 1.5])
    )
    assert model.core is model.base and not model.same_for_all_views


def test_one_set_for_all_times_goes_in_pieces() -> None:
    given = rows(10)
    given["mean"][:4, 0] = 0.0  # which `Straight` does not move
    model = straight(Explicit(given, steps=10))
    baked = model.bake()
    assert baked.motion is not None and len(baked) == 10 * PIECES  # all grow, at the least
    for k in range(PIECES):
        time = (k + 0.5) / PIECES
        piece = baked.take(slice(k * 10, (k + 1) * 10))  # type: ignore[arg-type]
        for near in (time - 0.3 / PIECES, time, time + 0.3 / PIECES):
            torch.testing.assert_close(piece.at(near).means, model.at(near).means)
        torch.testing.assert_close(piece.scales, model.at(time).scales)
        assert bool((piece.at(time).opacities == piece.opacities).all())
    between = baked.at(1.0 / PIECES).opacities.view(PIECES, 10)
    together = 1 - (1 - between).prod(0)
    torch.testing.assert_close(together, model.at(0.5).opacities, rtol=0, atol=0.15)


def test_what_stands_still_is_one_for_all_times() -> None:
    model = straight(Explicit(rows(10), steps=10))
    plain = model.base.bake()
    moved = replace(plain, means=plain.means + torch.eye(10)[:, 2:5])
    found = _in_pieces([*[plain] * (2 * PIECES), moved])
    assert found.motion is not None and len(found) == 7 + 3 * PIECES
    assert bool((found.motion.duration[:7] == ALWAYS).all())
    assert torch.equal(found.means[:7], plain.means[[0, 1, 5, 6, 7, 8, 9]])


def test_how_rows_go_is_told_by_lines() -> None:
    model = straight(Explicit(rows(10), steps=10))
    line = model.motion()
    expected = model.cloud["mean"][:, :1] * torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(line.velocity, expected)
    torch.testing.assert_close(model.at(0.3).means, model.bake(camera(0.3)).means)
    assert len(model.passed()) == 5


def test_lines_of_what_moves_already_are_those_where_it_is_seen() -> None:
    making = Making(steps=10, views=[camera(i / 20) for i in range(21)])
    given = rows(4) | {
        "time": torch.tensor([0.0, 0.5, 1.0, 0.5]), "velocity": torch.ones(4, 3),
        "log_duration": torch.tensor([0.2, 0.2, 0.1, 1e6]).log(),
    }  # fmt: skip
    model = straight(Timed(given, making, 0.2))
    baked = model.bake()
    assert baked.motion is not None
    # The rows' own way changes x, by which the field says how far: what it adds is no line.
    for row, time in ((0, 0.0), (1, 0.5), (2, 1.0)):
        torch.testing.assert_close(
            baked.at(time).means[row], model.at(time).means[row], rtol=0, atol=0.15
        )
    torch.testing.assert_close(baked.opacities, model.base.bake().opacities)


def test_dropping_rows_leaves_the_field_as_it_is() -> None:
    model = straight(Explicit(rows(10), steps=10))
    before = {name: values.clone() for name, values in model.field.state_dict().items()}
    model.apply(Edit(drop=(Drop(torch.tensor([1, 4]), "score"),)))
    assert len(model.cloud) == 8
    assert all(torch.equal(before[name], now) for name, now in model.field.state_dict().items())


def test_what_is_seen_late_only_is_kept_where_all_times_are_scored() -> None:
    """The second row comes into the picture at the end of the clip (P2 of the design)."""

    class Comes(DeformationField):
        def forward(self, means: Tensor, time: float, plain: bool = False) -> Tensor:
            said = means.new_zeros(len(means), sum(self.outputs))
            said[1, 0] = 30 * (1 - time)
            return said

    given = rows(2) | {"mean": torch.tensor([[0.0, 0, 0], [0.1, 0, 0]])}
    base = Explicit(given, steps=10)
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    model = Deformed(base, Comes(box, SIZES, torch.Generator().manual_seed(0)), coarse=0)
    surveys = [
        survey(model, NativeRenderer(), Batch(camera(time), torch.zeros(40, 40, 3).byte()))
        for time in (0.0, 0.8, 1.0)
    ]
    found = significance("opaque", scores(surveys), *(torch.ones(2), torch.ones(2, 3)))
    early = significance("opaque", scores(surveys[:1]), *(torch.ones(2), torch.ones(2, 3)))
    assert early.tolist()[1] == 0 < float(found[1])
    hits = sum(float(each.rows.hits[1]) for each in surveys)
    assert float(found[1]) == pytest.approx(hits * float(given["opacity_logit"].sigmoid()[1]))


def test_the_box_is_about_most_points() -> None:
    points = torch.cat([torch.rand(998, 3), torch.full((2, 3), 99.0)])
    low, high = box_of(points, 0.98, 0.05)
    assert float(low.min()) > -0.07 and float(high.max()) < 1.07 and float(high.min()) > 1.0
    assert bool((box_of(points[:1], 0.98, 0.05)[1] > box_of(points[:1], 0.98, 0.05)[0]).all())


def test_asked_for_twice_or_of_odd_sizes_it_says_so() -> None:
    with pytest.raises(ValueError, match="deform is asked for twice"):
        Deform(Deform()).model(rows(5), Making(steps=10))
    with pytest.raises(ValueError, match="channels is 20; expected a multiple of 16"):
        Deform(channels=20)


@pytest.mark.parametrize("base", [METHODS["scaffold"], "mcmc + moving"], ids=["scaffold", "moving"])
def test_it_owes_what_every_strategy_does(base: Strategy | str, clip_folder: Path) -> None:
    given = strategy_from_text(base) if isinstance(base, str) else base
    strategy = Deform(given, coarse=0, resolution=8, width=16)
    # A few steps are enough where numbers put edits into the first ones.
    more: dict[str, Any] = {} if isinstance(base, str) else {"steps": 200, "fitted": False}
    findings = check_strategy(strategy, folder=clip_folder, **more)
    assert [finding for finding in findings if not finding.passed] == []


def test_runs_resume_and_repeat_to_the_bit(clip_folder: Path, tmp_path: Path) -> None:
    strategy = Deform(strategy_from_text("mrnf --cap 700"), coarse=10, resolution=8)
    one, two = ends_with_and_without_a_break(clip_folder, tmp_path, strategy, 23, 50)
    assert one == two and NAME in checkpoint.load(tmp_path / "end.pt")["modules"]


@pytest.fixture(scope="module")
def run(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_run(
        clip_folder,
        "mrnf --cap 700 + deform --coarse 10 --resolution 8",
        tmp_path_factory.mktemp("deform") / "run",
    )


def test_a_run_is_opened_as_it_was_trained(run: Path) -> None:
    folder = Folder(run)
    model = model_of(read_config(folder.config), checkpoint.load(folder.latest()))
    assert isinstance(model, Deformed) and model.field.times[0].shape[1] == 3
    moved = [model.at(time).means for time in (0.0, 1.0)]
    assert bool((moved[0] != moved[1]).any())
    metrics = json.loads((run / "metrics.json").read_text())
    assert "straight lines of each Gaussian" in metrics["export"]["dropped"][0]
    read = files.read(run / "point_cloud.ply")
    assert isinstance(read, Gaussians) and read.motion is not None


def test_instants_of_a_run_are_the_field_s(
    run: Path, tmp_path: Path, splat: Callable[..., Any]
) -> None:
    asked = ("export", run, "-o", tmp_path / "f.ply", "--instants", 3, "--json")
    assert len(json.loads(splat(*asked).out)["files"]) == 3
    folder = Folder(run)
    model = model_of(read_config(folder.config), checkpoint.load(folder.latest()))
    from splat.core.frame import gaussians_from_frame

    expected = gaussians_from_frame(model.at(1.0), model.frame)
    read = files.read(tmp_path / "f_0002.ply")
    kept = expected.opacities > 1 / 255
    torch.testing.assert_close(read.means, expected.means[kept], rtol=1e-4, atol=1e-4)
