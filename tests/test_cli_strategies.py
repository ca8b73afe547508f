"""Strategies by name, of one's own, in words, and what is said of those that go wrong."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from splat.cli.composed import read
from splat.recipes.catalog import METHODS, PARTS, PRESETS, USUAL, kind_of
from splat.recipes.page import steps_text
from splat.recipes.parts import with_row_limit
from splat.recipes.recipe import names, shown, strategy_from_text, to_text, to_text_or_names
from splat.system.errors import told
from splat.system.import_path import module_of, vouch
from splat.system.text import headline

Splat = Callable[..., Any]
QUICK = ("--quiet", "--no-pictures", "--max-side", 0)


def test_a_preset_is_called_by_its_name() -> None:
    usual = strategy_from_text("mrnf --cap 9k + renew")
    assert names(usual) == "mrnf + renew" and shown(usual) == "mrnf --cap 9k + renew"
    assert strategy_from_text(shown(usual)) == usual
    other = strategy_from_text("mrnf + renew --keep 0.7")
    assert names(other) == "mrnf + significance" and "--keep 0.7" in shown(other)


PLUGIN = '''
from dataclasses import dataclass
import torch
from splat.core.edit import Drop, Edit
from splat.core.strategy import Fixed, Strategy

@dataclass(frozen=True)
class Thin(Strategy):
    """Drops a row now and then."""

    base: Fixed = Fixed()
    interval: int = 10
    """Steps between drops."""

    def refine(self, step):
        if (step.number + 1) % self.interval:
            return None
        return Edit(drop=(Drop(torch.tensor([0]), "thin"),))
'''


def test_a_strategy_of_ones_own(splat: Splat, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    shared = ("train", tiny_folder, "--steps", 10, *QUICK, "--json")
    by_name = splat(*shared, "--plugin", "mine:Thin", "--out", "a")
    assert json.loads(by_name.out)["gaussians"] == 499
    by_path = splat(*shared, "--plugin", "mine.py:Thin", "--out", "b", "thin", "--interval", 5)
    assert json.loads(by_path.out)["gaussians"] == 498
    resumed = splat("resume", "b", "--steps", 21, "--json", "--quiet")
    assert json.loads(resumed.out)["gaussians"] == 496
    assert "Steps between drops." in splat("train", "--plugin", "mine:Thin", "thin", "--help").out
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("mine", "names no class; expected module:Class"),
        ("nowhere.at.all:Mine", "cannot be imported"),
        ("missing.py:Mine", "does not exist"),
        ("json:Mine", "holds no Mine; expected a class that derives from"),
        ("json:dumps", "holds another thing as dumps"),
    ],
)
def test_a_plugin_that_is_none(splat: Splat, tiny_folder: Path, place: str, words: str) -> None:
    outcome = splat("train", tiny_folder, "--plugin", place)
    assert outcome.code == 2 and words in outcome.said


GROWS = '''
from dataclasses import dataclass
import torch
from splat.core.edit import Append, Edit
from splat.core.strategy import Strategy

@dataclass(frozen=True)
class Grows(Strategy):
    """Clones a row at every step, without any limit."""

    def refine(self, step):
        cloud, first = step.model.cloud, torch.tensor([0, 1, 2])
        return Edit(append=(Append(cloud.rows(first), first, "clone"),))
'''


def test_strategies_are_listed_and_shown(splat: Splat) -> None:
    record = json.loads(splat("strategies", "list", "--json").out)
    assert set(record["methods"]) == set(METHODS) and set(record["parts"]) == set(PARTS)
    assert set(record["presets"]) == set(PRESETS)
    # Summaries stand in the catalog, so that no method is loaded for them; classes say the same.
    for name, text in (*record["methods"].items(), *record["parts"].items()):
        assert text == headline(kind_of(name))
    for name in PRESETS:
        assert "prune by" in splat("strategies", "show", name).out
    shown = splat("strategies")
    for name, text in (*record["methods"].items(), *record["parts"].items()):
        assert f"  {name} " in shown.out and text in shown.out and text.endswith(".")
    assert splat("strategies", "lst").said.endswith("perhaps you meant list")
    assert "show RECIPE" in splat("strategies", "--help").out


@pytest.mark.parametrize(
    ("recipe", "steps", "lines"),
    [
        ("adc", 30_000, ["grow and prune: 600, 700 ... 14,900 (144 times)",
                         "reset opacity: 3,000, 6,000 ... 12,000 (4 times)"]),
        ("mcmc", 30_000, ["move and grow: 600, 700 ... 24,900 (244 times)"]),
        ("mcmc --cap 5k + protect", 3000, [
            "mcmc --cap 5k + protect", "refine-every 100 -> 50", "moves dead rows yes",
            "move and grow: 100, 150 ... 2,450 (48 times)", "most rows 5,000",
            "opacity (OpacityL1(weight=0.01))",
            "Opacity at or below which a row is dead and relocated."]),
        ("adc --absgrad", 30_000, ["absolute screen gradients", "screen_gradient, views"]),
        ("budget", 300, ["never more rows than a curve allows", "names no step at which it acts"]),
    ],
)  # fmt: skip
def test_what_a_strategy_does_and_when(
    splat: Splat, recipe: str, steps: int, lines: list[str]
) -> None:
    shown = splat("strategies", "show", *recipe.split(), "--steps", steps)
    assert shown.code == 0
    for line in lines:
        assert line in " ".join(shown.out.split())
    assert splat("strategies", "show", recipe, f"--steps={steps}").out == shown.out


def test_a_strategy_of_ones_own_is_tested(
    splat: Splat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    cache = request.config.cache
    assert cache is not None
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.mkdir("splat-demo-home")))
    (tmp_path / "thin.py").write_text(PLUGIN)
    words = ("strategies", "test", "thin.py:Thin", "--interval", 40, "--steps", 100)
    outcome = splat(*words)
    assert outcome.code == 1 and "9 of 11 checks passed" in outcome.out
    assert "FAILED order" in outcome.said and "after step 40 no row is left" in outcome.said
    assert "at step 40 the same rows in another order fare otherwise" in outcome.said
    found = json.loads(splat(*words, "--json").out)
    assert [each["check"] for each in found if not each["passed"]] == ["order", "odd rows"]
    good = splat("strategies", "test", "fixed", "--steps=60")
    assert good.code == 0 and good.out.endswith("11 of 11 checks passed\n")
    assert "perhaps you meant fixed" in splat("strategies", "test", "fixd").err


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "never"),
        ([7], "7"),
        ([500, 1000, 1500], "500, 1,000, 1,500"),
        ([600, 700, 800, 900, 1200], "600, 700 ... 900, 1,200 (5 times)"),
        ([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 9999],
         "1, 2, 4, 8, 16, 32, 64, 128, 256, 512 ... 9,999 (15 times)"),
    ],
)  # fmt: skip
def test_steps_in_short(steps: list[int], said: str) -> None:
    assert steps_text(steps) == said


def test_the_strategies_of_the_documentation_do_what_they_owe(
    splat: Splat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    cache = request.config.cache
    assert cache is not None
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.mkdir("splat-demo-home")))
    home = Path(__file__).parent.parent
    page = "\n".join(path.read_text() for path in [home / "README.md", *home.glob("docs/*/*.md")])
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL)
    assert {name for name, _ in blocks} == {
        "coarse.py",
        "largest.py",
        "unseen.py",
        "until.py",
        "wall.py",
    }
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    recipe = ("coarse.py:Coarse", "--radius-px", 9, "+", "until.py:Until", "--last", 15_000)
    for tried in (recipe, ("largest.py:Largest",)):
        outcome = splat("strategies", "test", *tried, "--steps", 160)
        assert outcome.code == 0, outcome.out
    asked = read(["scene", *map(str, recipe), "--steps", "300"])
    assert names(asked.method) == "coarse + until" and asked.training.steps == 300
    for line in re.findall(r"^    splat train scene/ (.*)$", page, re.MULTILINE):
        if "rooms.txt" not in line:
            read(["scene", *shlex.split(line, comments=True)])
    (file,) = re.findall(r"```\n# rooms.txt\n(.*?)```", page, re.DOTALL)
    assert to_text(strategy_from_text(file)) == (
        "mcmc --cap 200k + protect --rule 'age<500' + budget --rows 150k --curve sqrt"
    )


def test_one_cause_is_told_once(splat: Splat, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from dataclasses import dataclass\nimport torch\nfrom splat.core import Edit, Strategy\n"
        "from splat.core.edit import Drop\n\n\n@dataclass(frozen=True)\nclass Bad(Strategy):\n"
        "    def refine(self, step):\n"
        "        return Edit(drop=(Drop(torch.tensor([10**6]), 'x'),))\n"
    )
    outcome = splat("strategies", "test", f"{tmp_path / 'bad.py'}:Bad", "--steps", 40)
    assert outcome.code == 1 and "0 of 11 checks passed" in outcome.out and not outcome.err
    assert outcome.out.count("drop names rows outside") == 1
    said = " ".join(outcome.out.split())
    assert "so that these cannot pass: constant, schedule, rows," in said


OWN = """
from dataclasses import dataclass
from splat.core import at, Strategy
import torch

@dataclass(frozen=True)
class Own(Strategy):
    share: int = 0
    def __post_init__(self):
        if self.share > 1:
            raise ValueError(f"share is {self.share}; expected at most 1")
    def refine(self, step):
        return None
"""


@pytest.mark.parametrize(
    ("was", "now", "more", "code", "words"),
    [
        ("import at", "import att", (), 2, "line 3: ImportError: cannot import name 'att' from"),
        ("None", "torch.rand(3) + torch.rand(2)", (), 1, "line 13: RuntimeError: The size of"),
        ("return None", "raise ValueError('no')", (), 1, "line 13: ValueError: no (--debug"),
        ("", "", ("--share", 2), 2, "splat train: share is 2; expected at most 1"),
    ],
)
def test_what_ones_own_code_does_wrong_is_told_with_its_line(
    splat: Splat, tiny_folder: Path, tmp_path: Path,
    was: str, now: str, more: tuple[object, ...], code: int, words: str,
) -> None:  # fmt: skip
    place = tmp_path / f"own{code}{len(now)}.py"  # a file is loaded once
    place.write_text(OWN.replace(was, now, 1))
    asked = ("--steps", 3, *QUICK, "--out", tmp_path / "run")
    outcome = splat("train", tiny_folder, f"{place}:Own", *more, *asked)
    assert outcome.code == code and words in outcome.err, outcome.err
    assert ("perhaps you meant at (" in outcome.err) == (now == "import att")


def test_an_error_in_ones_own_code_says_where_more_of_it_is(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text("def fail() -> None:\n    raise KeyError('mean2')\n")
    where = str(tmp_path / "theirs.py")
    vouch(f"{where}:fail")
    with pytest.raises(KeyError) as caught:
        module_of(where).fail()
    for how in ("--debug", "mcmc.log"):
        code, said = told(caught.value, how) or (0, "")
        assert said == f"{where}, line 2: KeyError: 'mean2' ({how} shows how)" and code == 1


def test_what_a_method_never_comes_to_is_said(
    splat: Splat, tiny_folder: Path, tmp_path: Path
) -> None:
    said = "in 60 steps it never comes to: grow and prune, reset opacity"
    asked = ("--steps", 60, "--max-side", 0, "--no-pictures", "--device", "cpu")
    trained = splat("train", tiny_folder, "--out", tmp_path / "run", *asked, "adc", "--cap", 600)
    assert said in trained.err
    compared = splat(
        "compare", tiny_folder, "--strategies", "adc", "--steps", 60, "--max-side", 0, "--out",
        tmp_path / "compared", "--workers", 0, "--net", "none", "--seeds", 1,
    )  # fmt: skip
    assert f"adc: {said}" in compared.err
    shown = splat("strategies", "show", "adc", "--steps", 60).out
    assert "grow and prune: never" in shown and "reset opacity: never" in shown


def test_one_budget_for_every_method(splat: Splat, tiny_folder: Path, tmp_path: Path) -> None:
    shared = ("train", tiny_folder, "--no-pictures", "--max-side", 0, "--json", "--steps", 60)

    def trained(*arguments: object) -> tuple[dict[str, Any], str]:
        outcome = splat(*shared, "--overwrite", "--out", "run", *arguments)
        return json.loads(outcome.out), outcome.err

    metrics, text = trained("--budget", "0.6k")
    usual = to_text_or_names(with_row_limit(strategy_from_text(USUAL), 600))
    assert metrics["recipe"] == usual and metrics["gaussians"] <= 600
    metrics, text = trained("mcmc", "--cap", "2k", "--budget", 450)
    assert metrics["gaussians"] == 450 and "the method's cap of 2,000 is higher" in text
    metrics, text = trained("mcmc", "--cap", 400, "--budget", 450)
    assert metrics["gaussians"] == 400 and "holds, it is lower than 450" in text
    metrics, text = trained("fixed", "--budget", "20kB", "--sh-degree", 0)
    assert "of a .ply with 0 bands of harmonics" in text and "20kB" in text
    assert 0.97 * 20_000 < Path("run/point_cloud.ply").stat().st_size <= 20_000
    (tmp_path / "grow.py").write_text(GROWS)
    metrics, text = trained("--plugin", "grow.py:Grows", "--budget", "0.55k", "+", "protect")
    assert metrics["gaussians"] == 550 and metrics["method"] == "grows + protect + budget"
