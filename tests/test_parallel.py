"""Several processes train one run: the same rows in all of them, and what one would have made."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from ranks import PHOTOS, started

from splat import api, datasets
from splat.runs import checkpoint
from splat.runs.folder import read_config
from splat.runs.log import read_log

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


def _done(count: int, trial_folder: Path, kept: Path) -> list[dict[str, Any]]:
    parts = started(count, [str(HERE / "ranks.py"), str(trial_folder), str(kept)])
    said = [part.communicate(timeout=300)[0] for part in parts]
    assert [part.returncode for part in parts] == [0] * count, "\n".join(said)
    return [json.loads((kept / f"{rank}.json").read_text()) for rank in range(count)]


@pytest.fixture(scope="module")
def pair(trial_folder: Path, kept: Path) -> list[dict[str, Any]]:
    """What each of two processes found (`ranks.main`)."""
    return _done(2, trial_folder, kept)


@pytest.fixture(scope="module")
def three(trial_folder: Path, kept: Path, pair: object) -> list[dict[str, Any]]:
    """What each of three found, which go on with the run of the two as well."""
    del pair
    return _done(3, trial_folder, kept)


@pytest.mark.slow
def test_two_processes_end_with_the_same_bytes_by_every_method(pair: list[dict[str, Any]]) -> None:
    first, second = (found["methods"] for found in pair)
    assert len(first) >= 30 and first.keys() == second.keys()
    for name, found in first.items():
        assert found == second[name], name
        still = name == "fixed"
        assert (len(found["counts"]) == 1) == still, f"{name} had {found['counts']} rows"


@pytest.mark.slow
def test_three_processes_do_so_too(three: list[dict[str, Any]]) -> None:
    for name, found in three[0]["methods"].items():
        assert all(other["methods"][name] == found for other in three), name


@pytest.mark.slow
def test_a_step_is_that_of_one_process_which_shows_both_photos(pair: list[dict[str, Any]]) -> None:
    """Gradients are the mean of the photos', those of poses and tones their own; statistics sum."""
    for found in pair:
        plain, sensor = found["step"]["plain"], found["step"]["sensor"]
        assert {"mean", "sh", "screen_gradient", "views"} <= plain.keys()
        assert {"twists", "values"} <= sensor.keys()
        assert max(*plain.values(), *sensor.values()) < 1e-6, found["step"]


@pytest.mark.slow
def test_nobody_holds_the_group_at_the_end(pair: object, kept: Path) -> None:
    """Who does lets it end amid its threads, and three of ten times that aborts the process."""
    del pair
    assert [(kept / f"{rank}.left").read_text() for rank in (0, 1)] == ["None", "None"]


@pytest.mark.slow
def test_so_is_a_step_of_three(three: list[dict[str, Any]]) -> None:
    for found in three:
        assert max(*found["step"]["plain"].values(), *found["step"]["sensor"].values()) < 1e-5


@pytest.mark.slow
def test_figures_measured_together_are_those_of_one(three: list[dict[str, Any]]) -> None:
    assert all(found["measured"] for found in three)


@pytest.mark.slow
def test_what_depends_on_the_picture_of_one_process_is_refused(pair: list[dict[str, Any]]) -> None:
    for found in pair:
        assert "no longer have the same 240 Gaussians" in found["local"]


def _last(run: Path) -> Path:
    return checkpoint.checkpoints_in(run / "checkpoints")[-1]


@pytest.mark.slow
def test_a_run_of_two_goes_on_to_the_same_bytes(pair: object, kept: Path) -> None:
    del pair
    whole, again = kept / "whole", kept / "again"
    assert _last(whole).name == _last(again).name == f"step_{PHOTOS:08d}.pt"
    assert _last(whole).read_bytes() == _last(again).read_bytes()
    assert (whole / "point_cloud.ply").read_bytes() == (again / "point_cloud.ply").read_bytes()
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["steps"] == PHOTOS // 2 and metrics["processes"] == 2
    assert read_config(whole / "config.json").options.steps == PHOTOS
    steps = [record["step"] for record in read_log(whole / "log.jsonl") if "psnr" in record]
    assert steps == [10, 20, 30]  # one log, and each line once


@pytest.mark.slow
def test_and_with_another_number_of_processes(
    pair: object, three: object, kept: Path, trial_folder: Path
) -> None:
    del pair, three
    later = checkpoint.load(_last(kept / "later"))
    assert later["step"] == PHOTOS // 3 and checkpoint.photos_shown(later) == PHOTOS
    steps = [record["step"] for record in read_log(kept / "later" / "log.jsonl")]
    assert steps == sorted(steps) and steps[-1] == PHOTOS // 3
    found = api.resume(kept / "alone", datasets.load(trial_folder), lpips=None)
    assert found.metrics["steps"] == PHOTOS and "processes" not in found.metrics
    alone = checkpoint.load(_last(kept / "alone"))
    assert "at_once" not in alone and alone["version"] == checkpoint.UNCHANGED
    column = alone["model"]["_extra_state"]["columns"]["mean"]
    assert column["count"] == PHOTOS  # Adam's steps follow the photos: 15 of two are 30 of one


@pytest.mark.slow
def test_where_one_is_killed_the_others_keep_the_last_step(
    trial_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    asked = ["train", str(trial_folder), "--out", str(out), "--steps", "60000", "--max-side", "0"]
    asked += ["--checkpoint-every", "1000000", "--quiet", "--device", "cpu", "fixed"]
    parts = started(3, ["-m", "splat", *asked])
    log = out / "log.jsonl"
    for _ in range(3000):
        time.sleep(0.1)
        if log.exists() and len(log.read_text().splitlines()) >= 3:
            break
        assert parts[0].poll() is None, parts[0].communicate()[0]
    parts.pop(1).send_signal(signal.SIGKILL)
    said = "".join(part.communicate(timeout=100)[0] for part in parts)
    assert [part.returncode for part in parts] == [1, 1], said
    ours = [line for line in said.splitlines() if not line.startswith("[Gloo]")]  # torch 2.9's own
    assert len(ours) == 1, said  # one of them speaks, and says one thing
    assert "was the last that all 3 processes finished, one is gone" in said
    assert f"torchrun --nproc-per-node 3 -m splat resume {out}" in said
    there = checkpoint.checkpoints_in(out / "checkpoints")
    assert any(path.name in said for path in there) and len(there) <= 2
    state = checkpoint.load(there[-1])
    assert state["step"] >= 30 and there[-1].name == f"step_{3 * state['step']:08d}.pt"
    steps = 3 * state["step"] + 20
    found = api.resume(out, datasets.load(trial_folder), steps=steps, lpips=None)
    assert found.metrics["steps"] == steps
