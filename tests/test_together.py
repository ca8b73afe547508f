"""What one process does of a step of several, without the others: sums, rates, shares."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import STEPS, job_of
from steps import model_of
from torch import Tensor

from splat import api, datasets
from splat.core import Cloud, column
from splat.core.column import BETAS, EPSILON, Scaling
from splat.core.model import TrainedModule
from splat.core.strategy import Fixed
from splat.kernels import Harmonics, HarmonicsGradient
from splat.loop import Run, _step, advance
from splat.options import Options, Viewing, Watching
from splat.parallel import ALONE, Apart, Lost, Ranks, combined_step, current_ranks, ranks
from splat.parallel.together import _expand
from splat.photos.loader import Loader
from splat.runs import checkpoint
from splat.runs.log import read_log, renumber
from splat.sensor.newton import Newton
from splat.strategies.adc import Adc
from splat.types import Frame


def test_rates_and_betas_follow_the_square_root_rule() -> None:
    one, four = Scaling(), Scaling(4)
    assert (one.rate, one.epsilon, one.betas(BETAS)) == (1.0, 1.0, BETAS)
    assert four.rate == 2.0 and four.epsilon == 0.5
    assert four.betas(BETAS) == (0.9**4, 0.999**4)
    # Near 1 that is the rule in the form 1 - W (1 - beta).
    assert four.betas(BETAS)[1] == pytest.approx(1 - 4 * (1 - 0.999), abs=1e-5)


def test_adam_moves_columns_and_networks_by_that_rule() -> None:
    photos, steps = 4, 3
    model = model_of(5)
    model.cloud.scaling = Scaling(photos)
    network = torch.nn.Linear(3, 1, bias=False)
    before = network.weight.detach().clone()
    trained = TrainedModule(network, torch.optim.Adam(network.parameters(), lr=1e-2, eps=EPSILON))
    draw = torch.Generator().manual_seed(0)
    gradients = torch.randn(steps, 5, 3, generator=draw, dtype=torch.float64)
    start = model.cloud["mean"].detach().clone()
    for number in range(steps):
        model.cloud["mean"].grad = gradients[number].float()
        model.cloud.optimize(number)
        network.weight.grad = gradients[number, :1].float()
        trained.optimize(number, 1.0, model.cloud.scaling)
    group = trained.optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (1e-2, (0.9, 0.999), EPSILON)

    def wanted(values: Tensor, gradients: Tensor, rate: Any) -> Tensor:
        values, first, second = values.double(), 0.0, 0.0
        b1, b2 = 0.9**photos, 0.999**photos
        for t, g in enumerate(gradients):
            first, second = b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * g * g
            root = (second / (1 - b2 ** (t + 1))).sqrt() + EPSILON / 2
            values = values - 2 * rate(t) * first / (1 - b1 ** (t + 1)) / root
        return values

    rate = model.cloud._columns["mean"].rate
    moved = (model.cloud["mean"].detach().double() - start) / rate(0)
    expected = (wanted(start, gradients, rate) - start) / rate(0)
    torch.testing.assert_close(moved, expected, atol=2e-3, rtol=1e-3)
    assert model.cloud.rate("mean", 0) == 2 * rate(0)
    torch.testing.assert_close(
        network.weight.detach().double(),
        wanted(before, gradients[:, :1], lambda _: 1e-2),
        atol=1e-6, rtol=1e-5,
    )  # fmt: skip


class Two(Ranks):
    """Two processes in one: what this one says, and beside it what the other would."""

    def __init__(self, others: Mapping[str, list[Tensor]]) -> None:
        super().__init__(0, 2, 0, 2)
        self.others = {how: list(tensors) for how, tensors in others.items()}

    def reduce(self, values: Tensor, how: Any) -> None:
        if not self.others[how]:
            raise Lost("gone")
        other = self.others[how].pop(0).to(values.dtype)
        assert other.shape == values.shape
        both = torch.stack([values, other])
        values.copy_(both.sum(0) if how == "sum" else getattr(both, f"a{how}")(0))

    def gathered(self, values: Tensor) -> Tensor:
        return torch.stack([values, self.others["gather"].pop(0)])


def test_statistics_combine_as_they_declare_and_come_back_where_one_is_gone(
    trial_folder: Path,
) -> None:
    job = job_of(trial_folder, Fixed(), ALONE)
    run, cloud = job.run, job.run.model.cloud
    for how in ("sum", "max", "min", "same"):
        cloud.track(how, combine=how)  # type: ignore[arg-type]
        cloud.statistic(how).fill_(5)
    rows, picture = len(cloud), run.batches(0)
    rendered = run.render(run.model(picture.camera, 0), picture.camera, run.needs)
    step = _step(run, picture, rendered)
    kinds = [0.0] * len(cloud.names)
    header = torch.tensor([0, 3.0, 0, 0, rows, -1e9, 0, -rows, -1e9, *kinds], dtype=torch.float64)
    ones = torch.ones(rows)
    seen = torch.zeros(rows)
    seen[0] = 1
    others = {
        "max": [header, 9 * ones, seen],
        "sum": [torch.cat([torch.tensor([3.0]), 7 * ones])],
        "min": [2 * ones],
    }

    def observed() -> Apart:
        apart = Apart(cloud, Two({}))
        cloud.statistic("sum").add_(1)
        cloud.statistic("max").clamp_min_(6)
        cloud.statistic("min").clamp_max_(4)
        cloud.statistic("same").add_(1)
        return apart

    gone = Two({**others, "min": []})
    with pytest.raises(Lost):
        combined_step(gone, observed(), step, {}, {"loss": torch.tensor(1.0)})
    assert all(bool((cloud.statistic(how) == 5).all()) for how in ("sum", "max", "min", "same"))
    whole, losses = combined_step(Two(others), observed(), step, {}, {"loss": torch.tensor(1.0)})
    found = {how: float(cloud.statistic(how)[0]) for how in ("sum", "max", "min", "same")}
    assert found == {"sum": 5 + 1 + 7, "max": 9, "min": 2, "same": 6}
    assert float(losses["loss"]) == 2.0 and whole.batch.shrink == 3.0
    assert bool(whole.rows_in_sight[0])
    job.close()


def test_factors_of_harmonics_are_averaged_and_moved_as_if_written_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(column, "AT_ONCE", 3)
    draw = torch.Generator().manual_seed(0)
    ours, theirs = torch.randn(2, 7, 6, generator=draw)
    model, plain = model_of(7, sh_degree=3), model_of(7, sh_degree=3)
    values = model.cloud["sh"]
    assert isinstance(values, Harmonics)
    values.pending.append(HarmonicsGradient(ours.clone(), 2))
    _expand(Two({"gather": [theirs]}), values, 2)
    assert len(values.pending) == 2 and values.grad is None
    wanted = (HarmonicsGradient(ours, 2).dense(16) + HarmonicsGradient(theirs, 2).dense(16)) / 2
    found = model.cloud.gradient("sh")
    assert found is not None
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    plain.cloud["sh"].grad = wanted
    visible = torch.arange(7) != 4
    for cloud in (model.cloud, plain.cloud):
        cloud.optimize(0, visible)
    assert not values.pending and model.cloud._columns["sh"].count == 1
    for one, other in zip(model.cloud.moments("sh"), plain.cloud.moments("sh"), strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(model.cloud["sh"], plain.cloud["sh"], atol=1e-6, rtol=1e-6)
    assert torch.equal(model.cloud["sh"][4], model_of(7, sh_degree=3).cloud["sh"][4])


def gradient_of(cloud: Cloud, name: str) -> Tensor:
    found = cloud.gradient(name)
    assert found is not None
    return found


def told(row: int, bent: Tensor) -> Tensor:
    """A row and its curvature as processes tell each other."""
    return torch.cat([torch.tensor([row]), bent.flatten()]).double()[None]


def test_newton_moves_the_row_of_each_photo_as_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    gradient = torch.randn(4, 2, generator=draw)
    bends = {1: torch.diag(torch.tensor([2.0, 3])).double(), 3: 4 * torch.eye(2).double()}

    def newton() -> tuple[torch.nn.Parameter, Newton]:
        table = torch.nn.Parameter(torch.zeros(4, 2))
        table.grad = gradient.clone()
        return table, Newton(table, 10.0, 0.5)

    alone, one = newton()
    for row, bent in bends.items():
        one.bend(row, bent)
        one.step()
    table, both = newton()
    both.bend(1, bends[1])
    both.meet(Two({"gather": [told(3, bends[3])]}).gathered)
    both.step()
    assert torch.equal(table, alone) and bool((alone[[1, 3]] != 0).all())
    # What was not moved by is forgotten with the gradients, as a step that is repeated does.
    table, again = newton()
    again.bend(1, 9 * bends[1])
    again.zero_grad()
    again.bend(1, bends[1])
    assert torch.equal(again.bent[1], bends[1])
    # Two of one photo: the least of both their losses.
    table, both = newton()
    both.bend(1, bends[1])
    both.meet(Two({"gather": [told(1, bends[1])]}).gathered)
    both.step()
    torch.testing.assert_close(table[1].detach(), alone[1].detach() / 2, atol=1e-6, rtol=2e-3)


def test_photos_are_shown_by_turns(trial_folder: Path) -> None:
    scene = datasets.load(trial_folder)
    frame = Frame((0.0, 0.0, 0.0), 1.0)
    whole = Loader(scene.train, frame=frame, seed=3)
    turns = [Loader(scene.train, frame=frame, seed=3, turn=(rank, 3)) for rank in range(3)]
    order = [whole.index_at(number) for number in range(30)]
    assert [turns[n % 3].index_at(n // 3) for n in range(30)] == order
    assert torch.equal(turns[1](4).pixels, whole(13).pixels)
    # Two processes with three photos each a step: six of a step lie together.
    pairs = [Loader(scene.train, frame=frame, seed=3, turn=(rank, 2), each=3) for rank in range(2)]
    assert [pairs[n % 6 // 3].index_at(n // 6 * 3 + n % 3) for n in range(30)] == order
    for loader in (whole, *turns, *pairs):
        loader.close()


@pytest.mark.parametrize("more", [{}, {"refine_poses": True, "exposure": "affine"}])
def test_a_step_of_two_photos_moves_by_the_mean_of_both(
    trial_folder: Path, more: dict[str, Any]
) -> None:
    """Means of gradients, sums where a parameter belongs to one photo; statistics add up."""
    adc = Adc(cap=700, grow_gradient=2e-3)

    def of(run: Run) -> dict[str, Tensor]:
        cloud = run.model.cloud
        found = {name: gradient_of(cloud, name) for name in cloud.names}
        for part in run.modules.values():
            kind = "of photos " if part.of_photos else ""
            for name, each in part.module.named_parameters():
                found[kind + name] = torch.zeros_like(each) if each.grad is None else each.grad
        return {name: each.detach().clone() for name, each in found.items()}

    def stepped(batch: int, numbers: Sequence[int]) -> tuple[list[dict[str, Tensor]], Run]:
        with closing(job_of(trial_folder, adc, ALONE, batch=batch, **more)) as job:
            run, found, batches = job.run, [], job.run.batches
            run.optimize = lambda visible=None: found.append(of(run))  # type: ignore[method-assign]
            for number in numbers:
                run.step, run.batches = 0, lambda at, first=number: batches(first + at)
                advance(run)
                for name in run.model.cloud.names:
                    run.model.cloud._columns[name].clear_gradient()
                for part in run.modules.values():
                    part.optimizer.zero_grad()
            return found, run

    (both,), together = stepped(2, [0])
    (first, second), alone = stepped(1, [0, 1])
    assert together.at_once == 2 and together.steps * 2 == alone.steps
    for name, each in both.items():
        share = 1 if name.startswith("of photos") else 2
        wanted = (first[name] + second[name]) / share
        torch.testing.assert_close(each, wanted, atol=1e-6 * float(wanted.abs().max()), rtol=1e-5)
    for name in together.model.cloud.statistics:
        one, other = (run.model.cloud.statistic(name) for run in (together, alone))
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_a_run_of_several_photos_a_step_goes_on_to_the_bit(
    trial_folder: Path, tmp_path: Path
) -> None:
    options = Options(steps=61, batch=3, max_side=0, threads=1, device="cpu", refine_poses=True)
    watching = Watching(checkpoint_every=4, keep=9, pictures=False, quiet=True)
    scene = datasets.load(trial_folder)
    whole, again = tmp_path / "whole", tmp_path / "again"
    adc = Adc(cap=700, grow_gradient=2e-3)
    api.train(scene, adc, options, out=whole, watching=watching, lpips=None)
    metrics = json.loads((whole / "metrics.json").read_text())
    assert (metrics["steps"], metrics["batch"]) == (21, 3) and "processes" not in metrics
    shutil.copytree(whole, again)
    for path in checkpoint.checkpoints_in(again / "checkpoints"):
        if path.name > "step_00000024.pt":
            path.unlink()
    (again / "metrics.json").unlink()
    (again / "point_cloud.ply").unlink()
    api.resume(again, lpips=None)
    ours, theirs = ((each / "point_cloud.ply").read_bytes() for each in (whole, again))
    assert ours == theirs


def test_steps_are_counted_anew_for_another_number_of_photos(tmp_path: Path) -> None:
    many = Ranks(0, 3, 0, 3)
    assert [many.steps_of(count) for count in (99, 100, 1)] == [33, 34, 1]
    assert ALONE.steps_of(100) == 100
    assert [checkpoint.regrouped(15, 2, now) for now in (1, 3, 4)] == [30, 10, 8]
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 3, "x": 1}\n{"step": 10}\n')
    renumber(log, 1, 2)
    assert read_log(log) == [{"step": 2, "x": 1}, {"step": 5}]


def test_moments_go_over_to_other_numbers_of_photos() -> None:
    cloud = model_of(3).cloud
    cloud["mean"].grad = torch.ones(3, 3)
    cloud.optimize(0)
    first, second = (moment.clone() for moment in cloud.moments("mean"))
    cloud.regroup(3, 1)
    assert torch.equal(cloud.moments("mean")[0], first)
    assert torch.equal(cloud.moments("mean")[1], second * 3)
    assert cloud._columns["mean"].count == 3


def test_shares_come_back_in_the_order_of_the_whole() -> None:
    items = list(range(8))
    three = [Ranks(rank, 3, 0, 1) for rank in range(3)]
    parts = [own.shared(items) for own in three]
    three[0].each = lambda value: parts  # type: ignore[method-assign, assignment]
    assert three[0].interleaved(parts[0]) == items


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ranks]:
    found = Ranks(0, 2, 0, 2)
    monkeypatch.setattr(ranks, "_ours", [found])
    yield found


def test_a_page_for_several_processes_is_refused_in_a_sentence(
    several: Ranks, trial_folder: Path
) -> None:
    with pytest.raises(ValueError, match="the viewer is asked for in a run of 2 processes"):
        api.train(
            datasets.load(trial_folder), Fixed(), Options(steps=2), viewing=Viewing(viewer=True)
        )


def test_an_environment_that_is_not_torchruns_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(ValueError, match="LOCAL_RANK is '' in the environment"):
        current_ranks()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert current_ranks() is ALONE


def test_a_run_of_several_is_as_many_times_fewer_steps(trial_folder: Path, several: Ranks) -> None:
    several.same = lambda value: value  # type: ignore[method-assign, assignment]
    job = job_of(trial_folder, Fixed(), several)
    assert job.options.steps == 2 * STEPS and job.run.steps == STEPS and job.run.at_once == 2
    assert job.run.model.cloud.scaling == Scaling(2)
    rate = job.run.model.cloud._columns["mean"].rate
    assert rate.steps == 15_000 and math.isclose(rate(15_000), 1.6e-6, rel_tol=1e-9)
    job.close()
