"""`splat suggest`: settings that are tried on small pictures, and when one is taken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from splat import datasets
from splat.core.strategy import Fixed, Strategy
from splat.options import Options
from splat.tuning import suggest as tuning
from splat.tuning.suggest import held_out, suggest
from splat.types import SceneData


@pytest.fixture(scope="module")
def scene(tiny_folder: Path) -> SceneData:
    return datasets.load(tiny_folder)


def told(
    monkeypatch: pytest.MonkeyPatch, gains: dict[str, Sequence[float]], **more: Any
) -> list[tuple[str, int, int, int]]:
    """Trials that give what is said of each setting, by its turn, in place of training; what was
    asked of them."""
    asked: list[tuple[str, int, int, int]] = []

    def trial(self: Any, strategy: Strategy, options: Options, turn: int) -> dict[str, float]:
        self.count += 1
        assert not self.cap or strategy.limited(self.cap).cap <= self.cap
        words = type(strategy).__name__
        words += f" sh {options.sh_degree} points {options.points_weight:g}"
        asked.append((words, turn, self.side, self.steps))
        _, out = held_out(self._scene.train, turn)
        gain = sum(each[turn] for name, each in gains.items() if name in words)
        return {view.name: 20 + gain + 0.01 * i for i, view in enumerate(out)}

    monkeypatch.setattr(tuning._Trials, "__call__", trial)
    monkeypatch.setattr(tuning._Trials, "per_step", lambda self, decided: 1e-3)
    monkeypatch.setattr(tuning, "_predicted", lambda scene, decided: 100.0)
    return asked


def test_what_is_better_twice_is_taken(scene: SceneData, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = told(monkeypatch, {"Mcmc": (0.4, 0.3), "sh 1": (0.5, -0.1)})
    advice = suggest(scene, None, Options(steps=3000, max_side=0))
    assert advice.chosen is not None and advice.chosen.words == "mcmc"
    assert advice.gain == pytest.approx(0.35)
    # A tenth of 100 s, at a millisecond a step, for all settings and five more trials at most.
    assert (
        advice.steps
        == advice.trials * 0 + asked[0][3]
        == int(10 / (1e-3 * (len(advice.tried) + 5)))
    )
    side = max(scene.train[0].camera.width, scene.train[0].camera.height)
    assert asked[0][2] == round(side / 8**0.5)
    assert advice.trials == len(asked) == len(advice.tried) + 4
    assert "train with mcmc: +0.35 dB in trials" in advice.text


@pytest.mark.parametrize("gains", [(0.1, 0.1), (0.5, 0.1), (-0.5, 0.5)])
def test_what_is_better_by_chance_is_not(
    scene: SceneData, monkeypatch: pytest.MonkeyPatch, gains: tuple[float, float]
) -> None:
    told(monkeypatch, {"Mcmc": gains})
    advice = suggest(scene, None, Options(steps=3000, max_side=0))
    assert advice.chosen is None and "keep what is decided" in advice.text


def test_two_that_are_better_are_tried_together(
    scene: SceneData, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = told(monkeypatch, {"Mcmc": (0.4, 0.4), "points 0": (0.3, 0.3)})
    advice = suggest(scene, None, Options(steps=3000, max_side=0))
    assert asked[-1][0].startswith("Mcmc") and asked[-1][0].endswith("points 0")
    assert advice.chosen is not None and advice.chosen.words == "--points-weight 0 mcmc"
    assert advice.chosen.options.points_weight == 0 and advice.gain == pytest.approx(0.7)


def test_what_was_asked_for_stays(scene: SceneData, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = told(monkeypatch, {})
    options = Options(steps=3000, max_side=0, points_weight=0.5, sh_degree=2)
    advice = suggest(scene, Fixed(), options, named=True)
    assert not asked and advice.why_none == "all that is tried was asked for otherwise"
    suggest(scene, Fixed(), replace(options, sh_degree=3), named=True)
    assert {words for words, *_ in asked} == {"Fixed sh 3 points 0.5", "Fixed sh 1 points 0.5"}
    asked.clear()
    monkeypatch.setattr(tuning, "_predicted", lambda scene, decided: 1.0)
    short = suggest(scene, None, Options(steps=3000, max_side=0))
    assert not asked and "ask for a longer run, or a larger --share" in short.text


def test_photos_held_out_are_of_those_to_train_on(scene: SceneData) -> None:
    names = [view.name for view in scene.train]
    for turn in range(2):
        train, out = held_out(scene.train, turn)
        assert len(out) >= 2 and len(train) + len(out) == len(names)
        held = {view.name for view in out}
        assert not held & {view.name for view in train} and held <= set(names)
        assert not held & {min(names), max(names)}
    first, second = (({v.name for v in held_out(scene.train, turn)[1]}) for turn in range(2))
    assert first != second


def test_it_is_tried_and_trained(splat: Any, tiny_folder: Path) -> None:
    """The command line: a real trial of each, and a run with what they say."""
    run = ("--max-side", 0, "--steps", 300, "--threads", 1, "--points-weight", 1, "fixed")
    done = splat("suggest", tiny_folder, "--share", 9, "--json", *run)
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert [each["words"] for each in record["tried"]] == ["--sh-degree 1"]
    assert record["trials"] in (2, 4) and record["steps"] == 300
    done = splat("train", tiny_folder, "--tune", "auto", "--out", "run", "--dry-run", *run)
    assert done.code == 2 and "tune tries a run in one piece" in done.err
