"""Runs whose rows are shared out: what two processes decide together, and what comes of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import _MCMC
from ranks import Literal, started

from splat import api, datasets
from splat.core.strategy import Fixed, Strategy
from splat.options import Options
from splat.parallel.sharded import _flows
from splat.planning import predict
from splat.runs import checkpoint
from splat.strategies.budget import Budget
from splat.strategies.mcmc import Mcmc
from splat.strategies.taming import Taming
from splat.training.sharing import check_sharded

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def two(
    trial_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Where two processes left their runs, and what each found."""
    out = tmp_path_factory.mktemp("shares")
    parts = started(2, [str(HERE / "shares.py"), str(trial_folder), str(out)])
    said = [part.communicate()[0] for part in parts]
    assert [part.returncode for part in parts] == [0, 0], "\n".join(said)
    first, second = (json.loads((out / f"{rank}.json").read_text()) for rank in range(2))
    return out, first, second


Found = tuple[Path, dict[str, Any], dict[str, Any]]


def test_gradients_and_statistics_are_those_of_copies_of_all_rows(two: Found) -> None:
    for found in two[1:]:
        for case, apart in found["step"].items():
            assert max(apart.values()) < 2e-5, (case, apart)
    assert {"screen_gradient", "views", "before_scene"} < set(two[1]["step"]["plain"])
    assert "worst_error" in two[1]["step"]["error"]
    assert "twists" in two[1]["step"]["poses"]


def test_what_is_decided_together(two: Found) -> None:
    first, second = (found["rules"] for found in two[1:])
    assert first["total"] == second["total"] == 7
    # Of 0.5 0.1 0.9 here and 0.1 0.7 there; of equal ones that of the first process.
    assert first["lowest"] == [[], [1], [1, 0], [1, 0, 2]]
    assert second["lowest"] == [[], [], [0], [0, 1]]
    # Given up: what the other makes too many, by the first that has some to spare.
    assert first["evened"] == [2, 0, 1, 0]
    assert second["evened"] == [0, 0, 1, 2]
    for mine, other in zip(first["divided"][:2], second["divided"][:2], strict=True):
        assert mine + other == 1000
    assert 700 < first["divided"][0] < 800 and first["divided"][1] == 0
    assert first["divided"][2] == second["divided"][2] == 0


def test_rows_are_evened_out_with_all_that_belongs_to_them(two: Found) -> None:
    first, second = (found["evened"] for found in two[1:])
    few, many = first["before"]
    assert many > 1.1 * few
    total = few + many
    assert first["after"] == second["after"] == [total - total // 2, total // 2]
    assert (first["here"], second["here"]) == (total - total // 2, total // 2)
    assert first["own"] and second["own"]
    assert first["rows"] == second["rows"] and len(first["rows"]) == total


def test_views_are_measured_together_by_whoever_has_some_left(two: Found) -> None:
    for found in two[1:]:
        shared, copies = found["measured"]
        assert shared == pytest.approx(copies, abs=1e-4) and shared > 1


def test_flows_are_worked_by_hand() -> None:
    assert _flows([9, 1, 2]) == [[0, 3, 2], [0, 0, 0], [0, 0, 0]]
    assert _flows([4, 4, 3]) == [[0] * 3] * 3
    assert _flows([0, 0, 7, 1]) == [[0] * 4, [0] * 4, [2, 2, 0, 1], [0] * 4]


@pytest.mark.parametrize("name", ["mcmc", "adc", "mrnf", "error"])
def test_runs_grow_by_the_same_rule_and_learn_as_much(two: Found, name: str) -> None:
    shared, copies = (two[1]["methods"][name][kind] for kind in ("shared", "copies"))
    other = two[2]["methods"][name]["shared"]
    assert shared["rows"] == other["rows"] and shared["counts"] == other["counts"]
    assert shared["rows"][-1] == sum(shared["counts"])
    if name == "mcmc":  # its numbers depend on nothing that is drawn
        assert shared["rows"] == copies["rows"]
    elif name != "adc":
        # At the end a row may have gone that lay in clear air.
        assert {shared["rows"][-1], copies["rows"][-1]} <= {598, 599, 600}
    assert shared["rows"][-1] > shared["rows"][0]
    assert shared["rows"][-1] == pytest.approx(copies["rows"][-1], rel=0.1)
    # Of `error` both were an eighth apart once more air was clear.
    assert shared["loss"] == pytest.approx(copies["loss"], rel=0.2 if name == "error" else 0.1)
    assert 0 < shared["sent"] and copies["sent"] == 0


def test_the_same_run_makes_the_same_bytes(two: Found) -> None:
    for found in two[1:]:
        assert found["again"] == found["methods"]["mcmc"]["shared"]


def test_a_run_goes_on_to_the_bit(two: Found) -> None:
    out = two[0]
    names = [path.name for path in checkpoint.checkpoints_in(out / "whole" / "checkpoints")]
    assert names[-1] == "step_00000080.pt"
    for name in ("point_cloud.ply", *(f"checkpoints/{name}" for name in names)):
        assert (out / "whole" / name).read_bytes() == (out / "again" / name).read_bytes(), name
    record = json.loads((out / "whole" / "metrics.json").read_text())
    assert record["processes"] == 2 and record["views"] == 2
    assert record["gaussians"] == 614


def test_a_checkpoint_is_that_of_one_process_and_goes_on_in_one(two: Found, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(two[0] / "later", run)
    state = checkpoint.load(run / "checkpoints" / "step_00000040.pt")
    shares = state["shares"]
    rows = {len(values) for values in checkpoint.rows(state).values()}
    assert rows == {sum(shares)} and len(shares) == 2
    parts = [checkpoint.share(state, rank, 2) for rank in range(2)]
    for name, values in checkpoint.rows(state).items():
        assert torch.equal(torch.cat([checkpoint.rows(part)[name] for part in parts]), values)
    thirds = [len(checkpoint.rows(checkpoint.share(state, rank, 3))["mean"]) for rank in range(3)]
    assert sum(thirds) == sum(shares) and max(thirds) - min(thirds) <= 1
    result = api.resume(run, strategy=Literal(_MCMC), lpips=None)
    assert result.metrics["gaussians"] > sum(shares) and "processes" not in result.metrics


def test_a_process_is_predicted_to_hold_its_share(trial_folder: Path) -> None:
    views, options = datasets.load(trial_folder).train, Options(steps=10, threads=1, cache=0)
    cpu = torch.device("cpu")
    whole = predict.predict(views, options, cpu, 1000, 4001)
    shared = predict.predict(views, options, cpu, 1000, 4001, sharing=2)
    assert shared.gaussians * 4001 == whole.gaussians * 2001
    assert shared.scratch == whole.scratch and shared.seconds == whole.seconds


@pytest.mark.parametrize(
    ("strategy", "more", "expected"),
    [
        (Taming(), {}, "taming cannot do with that yet: it scores all of them in surveys"),
        (Budget(Fixed(), rows=5), {}, "budget cannot do with that yet"),
        (Mcmc(), {"finish_for": ".spz"}, "shard does not go with finish-for yet"),
        (Mcmc(), {"memory": 10**9}, "shard does not go with memory yet: what a process draws"),
        (Mcmc(), {"minutes": 3.0}, "shard does not go with minutes yet"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(
    strategy: Strategy, more: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        check_sharded(strategy, replace(Options(shard=True), **more))
