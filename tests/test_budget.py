"""A budget of minutes: what fits, by a clock of the tests, and that only the number counts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS

from splat import api
from splat.loop import Run
from splat.options import Options, Watching
from splat.planning import predict, speed
from splat.planning.ladder import rung_for, step_parts, step_seconds
from splat.planning.predict import Pace
from splat.runs.folder import Folder
from splat.system import machine
from splat.training import time_budget
from splat.training.prepare import Job, prepare
from splat.types import Batch, SceneData

OPTIONS = Options(steps=5000, max_side=0, threads=1, resolution="full")


class Clock:
    """Each look at it takes a while."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.fixture
def scene(tiny_folder: Path) -> SceneData:
    return api.load(tiny_folder)


def job_of(scene: SceneData, options: Options = OPTIONS) -> Job:
    """A short run, whose end is timed."""
    return prepare(scene, METHODS["fixed"], replace(options, steps=20))


def test_steps_and_decoding_are_compared_with_the_constants(scene: SceneData) -> None:
    """One look at the clock a step, so a step takes a tick; decoding 8 photos takes one."""
    with closing(job_of(scene)) as job:
        pace = time_budget.measured_pace(job, 10.0, Clock(0.01))
    device, pixels = job.run.render.device, 96 * 72
    assert pace.step == pytest.approx(0.01 / step_seconds(device, pixels, 500, 1))
    assert pace.pixels == pace.step
    assert pace.decoding == pytest.approx(0.01 / (predict.DECODE_SECONDS * 8 * pixels))
    # A look at the start, one after decoding, one after each of the 20 steps of the short run, one
    # before steps are timed, 0.4 s of those, a twenty-fifth of the budget, and one at the end.
    assert pace.spent == pytest.approx(0.01 + 0.2 + 0.01 + 0.4 + 0.01, abs=0.0101)


def test_what_pixels_cost_is_told_by_smaller_pictures(
    scene: SceneData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of steps that take 3 ms and 1 us a pixel, whatever their pictures."""
    clock, advance = Clock(0.0), time_budget.advance

    def slowly(run: Run) -> None:
        camera = run.batches(run.step).camera
        advance(run)
        clock.now += 0.003 + 1e-6 * camera.width * camera.height

    monkeypatch.setattr(time_budget, "advance", slowly)
    for kind in ("dash", "warm-up"):
        with closing(job_of(scene, replace(OPTIONS, resolution=kind))) as job:
            pace = time_budget.measured_pace(job, 10.0, clock)
            fixed, of_pixels = step_parts(job.run.render.device, 96 * 72, 500, 1)
        assert pace.step * fixed == pytest.approx(0.003), kind
        assert pace.pixels * of_pixels == pytest.approx(1e-6 * 96 * 72), kind


@pytest.mark.parametrize(("seconds", "ripe"), [(10.0, 20), (1.9, 12)])
def test_what_is_timed_is_the_end_of_a_short_run(
    scene: SceneData, seconds: float, ripe: int
) -> None:
    """All of it, or as many steps as fit into 6 % of the budget, a tick of 0.01 s each."""
    with closing(job_of(scene)) as job:
        sizes = []
        batches = job.run.batches

        def noted(step: int) -> Batch:
            sizes.append(step)
            return batches(step)

        job.run.batches = noted  # those of the short run; what is timed has its own
        time_budget.measured_pace(job, seconds, Clock(0.01))
    assert sizes == list(range(ripe))


def test_the_copy_that_is_timed_has_as_many_rows_as_the_run_on_average(scene: SceneData) -> None:
    with closing(prepare(scene, METHODS["mcmc"], OPTIONS)) as job:
        cloud = job.run.model.cloud
        cloud.rate_scale = 0.0  # its steps train, too
        before = float(cloud["log_scale"].detach().exp().square().sum())
        time_budget.measured_pace(job, 0.001, Clock(0.01))
        assert len(cloud) == predict.mean_rows(500, 2500) == 2100
        after = float(cloud["log_scale"].detach().exp().square().sum())
        # n copies whose sides are the cube root of n smaller cover the cube root of n as much.
        assert after == pytest.approx(before * (2100 / 500) ** (1 / 3), rel=0.15)


def test_all_views_are_timed_however_short_the_budget(scene: SceneData) -> None:
    with closing(job_of(scene)) as job:
        pace = time_budget.measured_pace(job, 0.001, Clock(1.0))
    # Decoding, one step of the short run, and a look before and after.
    assert pace.spent == 1.0 + 1 + 1 + 8 + 1


@pytest.mark.parametrize("seconds", [10.0, 25.0, 40.0])
def test_the_most_steps_that_fit_are_found(scene: SceneData, seconds: float) -> None:
    with closing(job_of(scene)) as job:
        slower = 0.01 / step_seconds(job.run.render.device, 96 * 72, 500, 1)
        pace = Pace(step=slower, pixels=slower, spent=1)
        steps, needed = time_budget.steps_within(job, 500, 5000, pace, seconds)
    assert abs(steps - (time_budget.SHARE * seconds - 1) / 0.01) <= 1
    assert needed <= time_budget.SHARE * seconds - 1 < needed + 0.01


def test_the_budget_is_bounded_by_the_steps_and_by_the_least(scene: SceneData) -> None:
    with closing(job_of(scene)) as job:
        assert time_budget.steps_within(job, 500, 5000, Pace(), 1e6)[0] == 5000
        assert (
            time_budget.steps_within(job, 500, 5000, Pace(step=1e6), 1.0)[0]
            == time_budget.LEAST_STEPS
        )
        assert time_budget.steps_within(job, 500, 20, Pace(step=1e6), 1.0)[0] == 20


def test_smaller_pictures_and_more_rows_change_what_fits(scene: SceneData) -> None:
    found = {}
    for kind in ("full", "dash"):
        with closing(job_of(scene, replace(OPTIONS, resolution=kind))) as job:
            found[kind] = time_budget.steps_within(job, 500, 100_000, Pace(), 15.0)[0]
            found["many"] = time_budget.steps_within(job, 50_000, 100_000, Pace(), 15.0)[0]
    assert found["dash"] > found["full"] > found["many"]


def trained(scene: SceneData, out: Path, options: Options) -> api.Result:
    quiet = Watching(quiet=True, pictures=False)
    return api.train(scene, METHODS["mcmc"], options, out=out, watching=quiet, lpips=None)


def test_the_record_makes_the_same_run(
    scene: SceneData, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO, "splat")
    monkeypatch.setattr(time_budget, "LEAST_STEPS", 10)
    monkeypatch.setattr(time_budget, "LIMIT_EVERY", 10**9)  # another test's: see below
    options = Options(minutes=0.02, max_side=0, threads=1)
    result = trained(scene, tmp_path / "minutes", options)
    record = json.loads(Folder(tmp_path / "minutes").config.read_text())["options"]
    steps = record["steps"]
    assert 10 <= steps == result.metrics["steps"] and record["minutes"] == 0.02
    said = [r.getMessage() for r in caplog.records]
    assert any(f"--steps {steps} in place of --minutes makes the same run" in text for text in said)
    for once in ("scene ", "exposure ", "timing ", "budget "):
        assert sum(text.startswith(once) for text in said) == 1, once
    trained(scene, tmp_path / "steps", replace(options, minutes=None, steps=steps))
    first, second = (Folder(tmp_path / name) for name in ("minutes", "steps"))
    assert first.latest().read_bytes() == second.latest().read_bytes()
    assert first.gaussians.read_bytes() == second.gaussians.read_bytes()


def test_a_limit_is_a_limit_where_the_prediction_was_wrong(
    scene: SceneData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_budget, "LEAST_STEPS", 30)
    monkeypatch.setattr(time_budget, "steps_within", lambda *_: (4000, 1.0))
    options = Options(minutes=0.02, max_side=0, threads=1)
    found = trained(scene, tmp_path / "run", options).metrics
    assert 30 <= found["steps"] < 4000 and found["steps"] % time_budget.LIMIT_EVERY == 0
    assert found["ended"].endswith("1 s, which were asked for, are over")
    with pytest.raises(ValueError, match="which were asked for, are over"):
        api.resume(tmp_path / "run", lpips=None)


def test_what_doctor_measured_counts_for_predictions_and_for_nothing_else(
    scene: SceneData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cpu = torch.device("cpu")
    options = predict.with_device_defaults(Options(steps=1000, threads=1, max_side=0), cpu)

    def seconds() -> float:
        return predict.predict(scene.train, options, cpu, 500, 500).seconds

    plain, rung = seconds(), rung_for(cpu)
    speed.remember_factor(3.0)
    assert 2.5 * plain < seconds() <= 3 * plain and rung_for(cpu) == rung
    speed.remember_factor(1e9)
    assert speed.remembered_factor(cpu) == speed.MOST
    monkeypatch.setattr(machine, "cores", lambda: 77)  # another machine with the same home
    assert speed.remembered_factor(cpu) == 1.0
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    speed.speed_file().write_text("{}")
    assert seconds() == plain


def test_a_resume_never_times_again(
    scene: SceneData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(scene, tmp_path / "run", Options(minutes=0.001, steps=20, max_side=0, threads=1))

    def never(*arguments: object) -> None:
        raise AssertionError("it was timed again")

    monkeypatch.setattr(time_budget, "prepare_timed", never)
    Folder(tmp_path / "run").metrics.unlink()
    again = api.resume(tmp_path / "run", lpips=None).metrics
    assert (again["steps"], again["minutes"]) == (20, 0.001)
    further = api.resume(tmp_path / "run", steps=25, lpips=None).metrics
    assert (further["steps"], further["minutes"]) == (25, None)


def test_a_budget_that_is_too_small_is_one_sentence(
    splat: Callable[..., Any], tiny_folder: Path
) -> None:
    asked = ("--minutes", 1e-5, "--max-side", 0, "--no-pictures", "--out", "run")
    outcome = splat("train", tiny_folder, *asked, "fixed")
    assert outcome.code == 0
    assert "0 s are too short for 300 steps, which is the least; they will take" in outcome.err
    assert "timing    some steps" in outcome.err
    assert "300 steps in" in outcome.out and "of the 0 s asked for" in outcome.out
