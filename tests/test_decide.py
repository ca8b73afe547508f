"""What a run takes where nobody said it: one record, each value with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from splat import api
from splat.options import Options
from splat.planning.ladder import rung_for
from splat.recipes.offered import Offered
from splat.recipes.recipe import usual_strategy
from splat.runs.folder import Folder, read_config
from splat.strategies.mcmc import Mcmc
from splat.system import machine
from splat.training.decide import ASKED, decide


def test_all_that_is_open_is_decided_with_its_reason(tiny_folder: Path) -> None:
    scene = api.load(tiny_folder)
    found = decide(scene, None, Options(device="cpu"))
    rung = rung_for(found.device)
    assert (
        found.strategy == usual_strategy(Offered(found.device)) and found.strategy.cap == rung.cap
    )
    assert found.options.steps == rung.steps and found.options.threads == machine.cores()
    assert found.options.background == "black" and found.options.resolution == "dash"
    assert found.why("device") == "CPU, as asked" and "largest run" in found.why("steps")
    assert "we compared" in found.why("method") and "suits" in found.why("cap")
    assert found.asked == Options(device="cpu"), "what a run folder keeps stays open"


def test_what_is_asked_for_is_taken(tiny_folder: Path) -> None:
    options = Options(
        device="cpu", steps=70, max_side=0, threads=1, cache=0, photo_cache=0, background="white"
    )
    found = decide(api.load(tiny_folder), Mcmc(cap=77), options)
    assert found.strategy == Mcmc(cap=77)
    for name in ("method", "cap", "steps", "max-side", "threads", "cache", "background"):
        assert found.why(name) == ASKED, name


def test_a_budget_and_minutes(tiny_folder: Path) -> None:
    found = decide(api.load(tiny_folder), Mcmc(), Options(budget="500", minutes=1))
    assert found.strategy.cap == 500 and "--budget 500" in found.why("cap")
    assert found.options.steps is None and "--minutes 1" in found.why("steps")


def test_a_dry_run_is_the_run_and_writes_nothing(
    tiny_folder: Path, tmp_path: Path, splat: Callable[..., Any]
) -> None:
    arguments = ["train", tiny_folder, "--out", tmp_path / "run", "--steps", 20, "--max-side", 0]
    dry = splat(*arguments, "--dry-run", "--json", "mcmc", "--cap", 400)
    assert dry.code == 0 and not (tmp_path / "run").exists()
    said = {each["name"]: each for each in json.loads(dry.out)}
    assert said["steps"] == {"name": "steps", "value": "20", "why": ASKED}
    assert said["method"]["value"] == "mcmc --cap 400" and "predicted" in said["time"]["why"]
    assert splat(*arguments, "--quiet", "mcmc", "--cap", 400).code == 0
    kept = read_config(Folder(tmp_path / "run").config).options
    assert said["exposure"]["value"] == kept.exposure and said["decoding"]["value"] == kept.decoding
    assert said["background"]["value"] == kept.background
    people = splat(*arguments, "--dry-run", "mcmc", "--cap", 400)
    assert people.code == 0 and "as asked" in people.out, "a folder with a run in it is no matter"


def test_blocks_have_no_dry_run(tiny_folder: Path, splat: Callable[..., Any]) -> None:
    outcome = splat("train", tiny_folder, "--dry-run", "--blocks", "2x1")
    assert outcome.code == 2 and "leave --blocks out" in outcome.err


@pytest.mark.parametrize("wrong", ["cuda:0", "gpu"])
def test_a_device_that_is_none(wrong: str, tiny_folder: Path, splat: Callable[..., Any]) -> None:
    outcome = splat("train", tiny_folder, "--device", wrong)
    assert outcome.code == 2 and "--device" in outcome.err
