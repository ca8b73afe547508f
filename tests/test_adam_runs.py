"""Runs with the options of Adam: they repeat, resume to the byte, and reach the run as asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS, ends_with_and_without_a_break, job_of, state_of
from steps import assert_consistent
from torch import Tensor

from splat.core.edit import Change
from splat.core.model import Explicit
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.loop import Run, train
from splat.options import Options
from splat.runs import checkpoint
from splat.runs.folder import Folder
from splat.training.prepare import Job

Outcome = Any
THRIFTY: dict[str, Any] = {"adam": "visible", "moments": "bfloat16", "harmonics_every": 4}
SAVED, STEPS = 31, 60
"""Saved between two moves of the harmonics, and between two edits."""


def job_on(folder: Path, strategy: Strategy, **options: Any) -> Job:
    """A job on the tiny scene whose harmonics begin early enough to be seen."""
    job = job_of(folder, strategy, **options)
    assert isinstance(job.run.model, Explicit)
    job.run.model.sh_every = 8
    return job


def saving(path: Path) -> Callable[..., None]:
    """A watcher that saves in the middle, and checks the rows after each edit."""

    def watch(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        if change:
            assert_consistent(run.model.cloud)
        if run.step == SAVED:
            checkpoint.save(run, path)

    return watch


@pytest.mark.parametrize("name", ["adc", "mcmc"])
def test_runs_repeat_and_resume_to_the_byte(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    one, two = ends_with_and_without_a_break(
        tiny_folder, tmp_path, METHODS[name], SAVED, STEPS, sh_every=8,
        watch=saving(tmp_path / "seen.pt"), **THRIFTY,
    )  # fmt: skip
    assert one == two
    column = checkpoint.load(tmp_path / "end.pt")["model"]["_extra_state"]["columns"]["sh"]
    assert column["second"].dtype == torch.bfloat16
    assert len(column["values"]) != 500, "no edit is among the steps"


@pytest.mark.parametrize("option", THRIFTY)
def test_each_option_is_a_run_of_its_own_that_learns_too(option: str, tiny_folder: Path) -> None:
    losses: list[list[float]] = []

    def note(run: Run, step: Step, found: Mapping[str, Tensor], change: Change) -> None:
        losses[-1].append(float(sum(loss.detach() for loss in found.values())))

    states = []
    for more in ({}, {option: THRIFTY[option]}):
        with closing(job_on(tiny_folder, METHODS["fixed"], steps=40, **more)) as job:
            losses.append([])
            job.run.watchers = [note]
            train(job.run)
            states.append(state_of(job.run))
    assert states[0] != states[1]
    plain, thrifty = (sum(found[-10:]) for found in losses)
    assert thrifty < sum(losses[1][:10]) and thrifty == pytest.approx(plain, rel=0.05)


def test_rows_out_of_sight_stay(tiny_folder: Path) -> None:
    with closing(
        job_on(tiny_folder, METHODS["fixed"], steps=20, adam="visible", clear_air=False)
    ) as job:
        run, before = job.run, {}
        seen: list[bool] = []

        def check(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
            hidden = ~run.model.rows_in_sight(step.rendered)
            seen.append(bool(hidden.any()))
            for name, values in before.items():
                assert torch.equal(run.model.cloud[name][hidden], values[hidden])
            before.update(_copied(run))

        before.update(_copied(run))
        run.watchers = [check]
        train(run)
        assert any(seen), "every photo shows all: this checks nothing"


def _copied(run: Run) -> dict[str, Tensor]:
    return {name: run.model.cloud[name].detach().clone() for name in run.model.cloud.names}


def test_a_run_in_float32_goes_on_with_bfloat16_moments(tiny_folder: Path, tmp_path: Path) -> None:
    path, strategy = tmp_path / "saved.pt", METHODS["mcmc"]
    with closing(job_on(tiny_folder, strategy, steps=STEPS)) as job:
        job.run.watchers = [saving(path)]
        train(job.run)
    state = checkpoint.load(path)
    saved = state["model"]["_extra_state"]["columns"]
    with closing(job_on(tiny_folder, strategy, steps=STEPS, state=state, **THRIFTY)) as other:
        for name in other.run.model.cloud.names:
            for part, moment in zip(
                ("first", "second"), other.run.model.cloud.moments(name), strict=True
            ):
                assert saved[name][part].dtype == torch.float32
                assert torch.equal(moment, saved[name][part].bfloat16())
        train(other.run)
        assert other.run.step == STEPS
        assert_consistent(other.run.model.cloud)
        checkpoint.save(other.run, path)
    columns = checkpoint.load(path)["model"]["_extra_state"]["columns"]
    assert {column["first"].dtype for column in columns.values()} == {torch.bfloat16}


def test_options_reach_the_run(tiny_folder: Path) -> None:
    with closing(job_on(tiny_folder, METHODS["fixed"], **THRIFTY)) as job:
        cloud = job.run.model.cloud
        assert job.run.visible_only
        kinds = {moment.dtype for name in cloud.names for moment in cloud.moments(name)}
        assert kinds == {torch.bfloat16}
        job.run.steps = 4
        moved = []
        before = cloud["sh"].detach().clone()
        # All bands at once: the moves of those beyond the first one show.
        job.run.model.sh_every = 0
        job.run.watchers = [
            lambda run, *_: moved.append(bool((cloud["sh"] != before)[:, 1:].any()))
        ]
        train(job.run)
        assert moved == [False, False, False, True]
    with closing(job_on(tiny_folder, METHODS["fixed"])) as job:
        assert not job.run.visible_only
        assert job.run.model.cloud.moments("sh")[0].dtype == torch.float32


def test_the_command_line_takes_them_and_a_resumed_run_keeps_them(
    tiny_folder: Path, tmp_path: Path, splat: Callable[..., Outcome]
) -> None:
    given = ["--adam", "visible", "--moments", "bfloat16", "--harmonics-every", 4]
    out = tmp_path / "run"
    begun = splat("train", tiny_folder, "--out", out, "--steps", 4, "--quiet", *given)
    assert begun.code == 0, begun.said
    assert splat("resume", out, "--steps", 6, "--quiet").code == 0
    column = checkpoint.load(Folder(out).latest())["model"]["_extra_state"]["columns"]["sh"]
    assert (column["first"].dtype, column["count"]) == (torch.bfloat16, 6)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--harmonics-every", 0], "harmonics-every is 0; expected 1 or more"),
        (["--harmonics-every", -3], "harmonics-every is -3; expected 1 or more"),
        (["--adam", "seen"], "all"),
        (["--moments", "float16"], "bfloat16"),
    ],
)
def test_other_values_are_refused(
    given: list[object], sentence: str, tiny_folder: Path, splat: Callable[..., Outcome]
) -> None:
    refused = splat("train", tiny_folder, "--steps", 4, *given)
    assert refused.code == 2 and sentence in refused.said
    assert "Traceback" not in refused.said and str(given[1]) in refused.said


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"harmonics_every": 0}, "harmonics-every is 0; expected 1 or more"),
        ({"adam": "seen"}, "adam is 'seen'; expected all or visible"),
        ({"moments": "float16"}, "moments is 'float16'; expected auto, float32 or bfloat16"),
    ],
)
def test_python_is_told_as_well(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Options(**given)
