"""Goals: when a run ends early, that it says so, and that a resume decides alike."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from methods import METHODS
from test_checkpoint import at, kill

from splat import api
from splat.evaluation.evaluate import evaluate, mean_psnr
from splat.loop import Run
from splat.options import Options, Watching
from splat.runs import checkpoint
from splat.runs.folder import Folder
from splat.runs.log import read_log
from splat.training.goals import Goals
from splat.training.prepare import prepare
from splat.training.stop import Stopped


def end(goals: Goals, values: list[float]) -> int:
    """After how many looks a run ends; 0: it does not."""
    found = (i for i in range(1, len(values) + 1) if goals.reached(values[:i]))
    return next(found, 0)


def test_a_quality_is_reached_by_the_last_look() -> None:
    assert end(Goals(psnr=20), [18, 19.99, 20.0, 21]) == 3
    assert end(Goals(psnr=20), [18, 19, math.nan]) == 0
    assert end(Goals(psnr=20), [math.inf]) == 1
    assert Goals(psnr=20).reached([20.126]) == "20.13 dB of the 20 dB asked for"


@pytest.mark.parametrize(
    ("patience", "values", "ends"),
    [
        (1, [20, 21, 21.04], 3),
        (1, [20, 21, 21.06, 22], 0),
        (2, [20, 21, 21.03, 21.2, 21.21, 21.24], 6),
        # Small gains add up to one over a patient while.
        (2, [20, 20.03, 20.06, 20.09, 20.12], 0),
        (3, [22, 10, 15, 21], 4),
        (2, [20, math.nan, math.nan], 3),
        (2, [math.nan, 20, 21], 0),
        (0, [20, 20, 20, 20], 0),
        (5, [20, 20, 20, 20], 0),
    ],
)
def test_a_plateau_is_some_looks_without_gain(
    patience: int, values: list[float], ends: int
) -> None:
    assert end(Goals(patience=patience), values) == ends


def test_a_plateau_is_said_in_words() -> None:
    found = Goals(patience=2).reached([20.0, 20.01, 19.0])
    assert found == "no gain of more than 0.05 dB over 20.00 dB in the last 2 looks"
    assert not Goals() and Goals(psnr=30) and Goals(patience=1)


def trained(
    scene: Path, out: Path | None, *, eval: str = "auto", stop_at: int = 0, **options: Any
) -> api.Result:
    """A run of 100 steps that looks every 10."""
    return api.train(
        api.load(scene, eval=eval),
        METHODS["adc"],
        Options(steps=100, max_side=0, schedule="published", threads=2, **options),
        out=out,
        watching=Watching(quiet=True, pictures=False, eval_every=10, checkpoint_every=1000),
        watchers=(at(stop_at, kill(signal.SIGTERM)),) if stop_at else (),
        lpips=None,
    )


def looks(out: Path, key: str = "test_psnr") -> list[tuple[int, float]]:
    return [(r["step"], r[key]) for r in read_log(Folder(out).log) if key in r]


def test_each_measurement_draws_the_contact_sheet(tiny_folder: Path, tmp_path: Path) -> None:
    sheet, drawn = Folder(tmp_path / "run").contact_sheet, []

    def look(run: Run, *_: Any) -> None:
        drawn.append((run.step, sheet.read_bytes() if sheet.exists() else b""))

    api.train(
        api.load(tiny_folder),
        METHODS["adc"],
        Options(steps=7, max_side=0, threads=1),
        out=tmp_path / "run",
        watching=Watching(quiet=True, eval_every=3),
        watchers=(look,),
        lpips=None,
    )
    sheets = [data for _, data in drawn]
    assert not any(sheets[:2]) and sheets[2] == sheets[3] == sheets[4]
    assert len({b"", sheets[2], sheets[5], sheet.read_bytes()}) == 4


def test_it_ends_at_the_quality_and_says_so_everywhere(
    tiny_folder: Path, tmp_path: Path, splat: Callable[..., Any]
) -> None:
    trained(tiny_folder, tmp_path / "whole")
    seen = looks(tmp_path / "whole")
    step, goal = seen[2][0], round(seen[2][1] - 0.005, 2)
    assert all(value < goal for _, value in seen[:2]) and step == 30
    out = tmp_path / "run"
    result = trained(tiny_folder, out, psnr=goal)
    why = f"{seen[2][1]:.2f} dB of the {goal:g} dB asked for"
    assert result.metrics["ended"] == f"at step 30 of 100: {why}"
    assert result.metrics["steps"] == 30 and result.metrics["psnr"] == seen[2][1]
    assert looks(out) == seen[:3] and read_log(Folder(out).log)[-1]["step"] == 30
    assert next(r for r in read_log(Folder(out).log) if "ended" in r)["ended"] == why
    state = checkpoint.load(Folder(out).latest())
    assert (state["step"], state["steps"], state["ended"]) == (30, 100, why)
    refused = splat("resume", out)
    assert refused.code == 2
    assert f"is finished at step 30 ({why}); to go on, give --steps beyond it" in refused.said


def test_a_run_that_ended_early_goes_on_as_if_it_had_not(tiny_folder: Path, tmp_path: Path) -> None:
    trained(tiny_folder, tmp_path / "whole")
    trained(tiny_folder, tmp_path / "run", psnr=5.0)
    assert checkpoint.load(Folder(tmp_path / "run").latest())["step"] == 10
    result = api.resume(tmp_path / "run", steps=100, lpips=None)
    assert result.metrics["ended"] is None
    first, second = (Folder(tmp_path / name).latest() for name in ("whole", "run"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("before_the_end", [45, 10, 8])
def test_a_resume_ends_where_an_unbroken_run_ends(
    tiny_folder: Path, tmp_path: Path, before_the_end: int
) -> None:
    """A plateau that spans the break: opacity is reset at step 45, the quality falls."""
    trained(tiny_folder, tmp_path / "whole", patience=2)
    ended = checkpoint.load(Folder(tmp_path / "whole").latest())
    assert 45 < ended["step"] < 100 and "in the last 2 looks" in ended["ended"]
    stop_at = ended["step"] - before_the_end  # rounding decides by a look when it ends
    with pytest.raises(Stopped):
        trained(tiny_folder, tmp_path / "part", patience=2, stop_at=stop_at)
    api.resume(tmp_path / "part", lpips=None)
    first, second = (Folder(tmp_path / name).latest() for name in ("whole", "part"))
    assert first.name == second.name and first.read_bytes() == second.read_bytes()
    assert looks(tmp_path / "whole") == looks(tmp_path / "part")


def test_a_break_between_the_end_and_its_files_is_mended(tiny_folder: Path, tmp_path: Path) -> None:
    trained(tiny_folder, tmp_path / "run", psnr=5.0)
    Folder(tmp_path / "run").metrics.unlink()
    assert api.resume(tmp_path / "run", lpips=None).metrics["steps"] == 10
    assert Folder(tmp_path / "run").metrics.is_file()


def test_looking_changes_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    trained(tiny_folder, tmp_path / "looks", psnr=59.0)
    api.train(
        api.load(tiny_folder),
        METHODS["adc"],
        Options(steps=100, max_side=0, schedule="published", threads=2),
        out=tmp_path / "blind",
        watching=Watching(quiet=True, pictures=False),
        lpips=None,
    )
    first, second = (Folder(tmp_path / name).latest() for name in ("looks", "blind"))
    assert first.read_bytes() == second.read_bytes()


def test_a_goal_that_was_missed_is_said(tiny_folder: Path) -> None:
    metrics = trained(tiny_folder, None, psnr=59.0).metrics
    assert metrics["ended"] == "after all 100 steps, short of the 59 dB asked for"


def test_without_held_out_views_a_plateau_is_seen_on_trained_ones(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trained(tiny_folder, tmp_path / "run", eval="none", patience=1)
    seen = looks(tmp_path / "run", "train_psnr")
    assert seen and not looks(tmp_path / "run")
    assert checkpoint.load(Folder(tmp_path / "run").latest())["step"] == seen[-1][0] < 100


def test_a_quality_needs_held_out_views(
    splat: Callable[..., Any], tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    refused = splat("train", tiny_folder, "--out", out, "--eval", "none", "--psnr", 30, "--quiet")
    assert refused.code == 2 and refused.err.count("\n") == 1 and not out.exists()
    assert "none of" in refused.err and "hold some out with --eval 8" in refused.err


def test_goals_look_twenty_times_unless_told(
    splat: Callable[..., Any], tiny_folder: Path, tmp_path: Path
) -> None:
    asked = ("--steps", 40, "--max-side", 0, "--no-pictures", "--psnr", 59, "--json")
    outcome = splat("train", tiny_folder, "--out", tmp_path / "run", *asked, "fixed")
    assert [step for step, _ in looks(tmp_path / "run")] == list(range(2, 40, 2))
    assert "ends      at 59 dB on held-out photos, or with the last step" in outcome.err
    assert json.loads(outcome.out)["ended"] == "after all 40 steps, short of the 59 dB asked for"


def test_the_short_measure_is_that_of_the_end(tiny_folder: Path) -> None:
    job = prepare(api.load(tiny_folder), METHODS["fixed"], Options(steps=1, max_side=0))
    run = job.run
    found = evaluate(run.model, run.render, job.test_batches(), run.background, lpips=None)
    assert mean_psnr(run.model, run.render, job.test_batches(), run.background) == found.psnr
    job.close()
