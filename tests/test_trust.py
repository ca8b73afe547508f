"""What a stranger's run folder may name: what is ours, installed, or vouched for by the user."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from splat import api
from splat.options import Options
from splat.recipes.saved import description_of, strategy_from_description
from splat.strategies.mcmc import Mcmc
from splat.strategies.protect import Protect
from splat.strategies.scaffold import Scaffold
from splat.strategies.scaffold.gsdf import Gsdf
from splat.system import import_path
from splat.viewer.compare_tab import _row
from splat.viewer.showing import Showing

Splat = Callable[..., Any]
EVIL = """
import os, pathlib
from dataclasses import dataclass
from splat.core.strategy import Fixed, Wrapper
pathlib.Path(__file__).with_suffix(".ran").touch()

@dataclass(frozen=True)
class Evil(Wrapper):
    base: Fixed = Fixed()

    def refine(self, step):
        return None

def distance(points):
    return points.norm(dim=1)
"""
VERBS = (
    ("resume", "run", "--steps", "9", "--quiet"),
    ("eval", "run"),
    ("export", "run", "-o", "out.ply", "--overwrite"),
    ("info", "run"),
    ("clean", "run", "-o", "clean.ply", "--overwrite"),
)


@pytest.fixture(scope="module")
def honest(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run."""
    run = tmp_path_factory.mktemp("trust") / "run"
    options = Options(steps=3, max_side=0, device="cpu")
    api.train(api.load(tiny_folder), Mcmc(cap=600), options, out=run, lpips=None)
    return run


@pytest.fixture
def stranger(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a run folder lies that somebody else made, with code of theirs in it and beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_path, "_vouched", [])
    shutil.copytree(honest, tmp_path / "run")
    (tmp_path / "run" / "evil.py").write_text(EVIL)
    (tmp_path / "beside.py").write_text(EVIL)
    return tmp_path


def _named(run: Path, method: Mapping[str, Any]) -> None:
    record = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**record, "method": method}))


def _method(place: str) -> dict[str, Any]:
    return {"class": place, "fields": {}}


def _inside(place: str) -> dict[str, Any]:
    protected = description_of(Protect(Mcmc()))
    return {**protected, "fields": {**protected["fields"], "base": _method(place)}}


@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[0])
@pytest.mark.parametrize("place", ["run/evil.py:Evil", "beside:Evil"])
def test_no_verb_runs_the_code_of_a_run_folder(
    splat: Splat, stranger: Path, place: str, words: tuple[str, ...]
) -> None:
    for method in (_method(place), _inside(place)):
        _named(stranger / "run", method)
        outcome = splat(*words)
        # Gaussians can be had of any run; what only the method can do is refused.
        assert outcome.code == (2 if words[0] == "resume" else 0), outcome.said
        assert not outcome.code or f"--plugin {place}" in outcome.said, outcome.said
        assert not [*stranger.rglob("*.ran")]


def test_what_is_measured_of_a_strangers_run_names_its_strategy(
    splat: Splat, stranger: Path
) -> None:
    _named(stranger / "run", _inside("run/evil.py:Evil"))
    before = json.loads((stranger / "run" / "metrics.json").read_text())["psnr"]
    (stranger / "run" / "metrics.json").unlink()
    found = json.loads(splat("eval", "run", "--net", "none", "--json").out)
    assert found["psnr"] == before and found["method"] == found["recipe"] == "evil + protect"


def test_who_vouches_for_it_goes_on(splat: Splat, stranger: Path) -> None:
    place = str(stranger / "run" / "evil.py") + ":Evil"
    _named(stranger / "run", _method(place))
    assert splat("resume", "run", "--steps", "5", "--quiet").code == 2
    assert (
        splat("resume", "run", "--steps", "5", "--quiet", "--plugin", "run/evil.py:Evil").code == 0
    )
    assert (stranger / "run" / "evil.ran").is_file()
    # Its config was not written anew; a word that was given holds for the processes it starts.
    assert import_path.vouchers()[0][1] == json.dumps([str(stranger / "run" / "evil.py")])
    assert "expected module:Class" in splat("resume", "run", "--plugin", "evil").said


@pytest.mark.parametrize(
    "method",
    [
        _method("os:system"),
        _method("subprocess:Popen"),
        _method("splat.__main__:x"),
        _method("splat.cli:main"),
        _method("splat.core.edit:Drop"),
        _method("splat.strategies.mcmc:Nothing"),
        _method("__main__:Evil"),
        _inside("subprocess:CompletedProcess"),
        _inside("splat.types:Camera"),
        {**description_of(Gsdf(Scaffold())), "fields": {
            **description_of(Gsdf(Scaffold()))["fields"], "sdf": "beside:distance"}},
        {**description_of(Gsdf(Scaffold())), "fields": {
            **description_of(Gsdf(Scaffold()))["fields"], "sdf": "pickle:loads"}},
    ],
    ids=lambda method: method["class"],
)  # fmt: skip
def test_nothing_else_is_imported_or_called(stranger: Path, method: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"--plugin|is no strategy|in a script"):
        strategy_from_description(method)
    assert not [*stranger.rglob("*.ran")]


@pytest.mark.parametrize(
    "method",
    [
        {},
        {"class": 5, "fields": {}},
        {"class": "splat.strategies.mcmc:Mcmc"},
        {"class": "splat.strategies.mcmc:Mcmc", "fields": [1]},
        {"class": "splat.strategies.mcmc:Mcmc", "fields": {"cap": "many"}},
        {"class": "splat.strategies.mcmc:Mcmc", "fields": {"cap": None, "refine_every": []}},
        {"class": "splat.strategies.protect:Protect", "fields": {"base": 3, "rule": {}}},
        {"class": "splat.strategies.protect:Protect", "fields": {"base": {"class": None}}},
    ],
    ids=str,
)
def test_a_broken_description_is_a_sentence(method: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"begin anew|is .*expected"):
        strategy_from_description(method)


def test_names_are_no_markup_in_the_viewer() -> None:
    source: Any = SimpleNamespace(name="<img src=x onerror=f()>**[a](b)**{1}\n# x", psnr=None)
    source.step, source.count, source.unit = 3, 40, "Gaussians"
    viewer: Any = SimpleNamespace(_sources=[source], _events=[])
    for shown in (_row(source), Showing._state(viewer)[0]):
        name = shown.removeprefix("**").partition("**")[0]
        assert re.fullmatch(r"(\w| |&#\d+;)+", name) and html.unescape(name) == source.name


def test_ours_are_rebuilt_as_they_were() -> None:
    for strategy in (Mcmc(cap=7), Protect(Mcmc()), Gsdf(Scaffold(), sdf="splat.datasets.demo:sdf")):
        assert (
            strategy_from_description(json.loads(json.dumps(description_of(strategy)))) == strategy
        )
