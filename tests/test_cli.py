"""The command line: its grammar, its help, and what it says of words that do not fit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import splat as package
from splat import api
from splat.cli import VERBS
from splat.cli.composed import read
from splat.options.parse import complaint
from splat.strategies.adc import Adc
from splat.strategies.budget import Budget
from splat.strategies.freeze import Freeze
from splat.strategies.mcmc import Mcmc
from splat.strategies.protect import Protect
from splat.system.numbers import whole

Splat = Callable[..., Any]


def test_every_verb_has_help_and_is_listed(splat: Splat) -> None:
    listed = splat("--help")
    assert listed.code == 0
    for verb, (_, what) in VERBS.items():
        assert f"{verb} " in listed.out and what in listed.out
        shown = splat(verb, "--help")
        assert shown.code == 0 and f"usage: splat {verb}" in shown.out


def test_the_grammar_of_train(tmp_path: Path) -> None:
    asked = read("scene/ --out run/ --downscale 2 --steps 7k --cache 2GB mcmc --cap 1.5M".split())
    assert (asked.scene, asked.out) == (Path("scene"), Path("run"))
    assert (asked.training.downscale, asked.training.steps) == (2, 7000)
    assert asked.training.cache == 2_000_000_000
    assert type(asked.method) is Mcmc and asked.method.cap == 1_500_000
    behind = read("scene adc --cap 60k --absgrad --steps 300 --eval 5".split())
    assert behind.training.steps == 300 and behind.reading.eval == "5"
    assert vars(behind.method)["cap"] == 60_000 and vars(behind.method)["absgrad"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("7000", 7000), ("7_000", 7000), ("200k", 200_000), ("1.5M", 1_500_000), ("2GB", 2 * 10**9),
     ("1GiB", 1 << 30), ("1e4", 10_000), ("0", 0)],
)  # fmt: skip
def test_whole_numbers(text: str, number: int) -> None:
    assert whole(text) == number


@pytest.mark.parametrize("text", ["", "k", "1.5", "1.2345k", "many", "1kk", "0x10", "nan"])
def test_no_whole_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="is no whole number; expected such as"):
        whole(text)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("train", "scene", "--step", 3), "--steps"),
        (("train", "scene", "mcmc", "--capp", 3), "--cap"),
        (("resume", "run", "--devise", "cpu"), "--device"),
        (("render", "run", "--framse", 3), "--frames"),
        (("trian", "scene"), "train"),
        (("exprot", "run"), "export"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_right_one(
    splat: Splat, arguments: tuple[object, ...], meant: str
) -> None:
    outcome = splat(*arguments)
    assert outcome.code == 2
    assert "erhaps you meant" in outcome.said and meant in outcome.said


def test_the_package_has_the_names_it_lists() -> None:
    # A module of the name of a function would take its place once it is imported.
    modules = {path.stem for path in Path(api.__file__).parent.iterdir()}
    assert not modules & set(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    assert all(getattr(package, name) is not None for name in package.__all__)


def test_parts_stand_after_a_plus(tmp_path: Path) -> None:
    text = (
        "scene/ --out run/ adc --cap 60k + protect --rule opacity>0.5 --reasons size --steps 300"
        " --quiet + budget --rows 7k --seed=3"
    )
    asked = read(text.split())
    assert asked.method == Budget(Protect(Adc(cap=60_000), reasons=("size",)), rows=7000)
    assert (asked.training.steps, asked.training.seed, asked.watching.quiet) == (300, 3, True)
    asked = read("scene/ adc --cap 7 + protect -o run/ --rule age<9".split())
    assert (asked.out, asked.method) == (Path("run"), Protect(Adc(cap=7), rule="age<9"))
    asked = read("scene/ -o mcmc".split())
    assert asked.out == Path("mcmc") and not asked.named, "a folder that is called as a method is"
    (tmp_path / "mine.txt").write_text("adc --cap 3k  # rooms\n+ protect\n")
    asked = read(f"scene --recipe {tmp_path / 'mine.txt'} + freeze".split())
    assert asked.method == Freeze(Protect(Adc(cap=3000)))
    assert read(["scene", "--recipe", "fixed + protect"]).method == Protect()
    for both in ("scene adc --recipe fixed", "scene --recipe fixed mcmc", "s mcmc --recipe fixed"):
        with pytest.raises(ValueError, match="a recipe is given and a method too"):
            read(both.split())


def test_flags_have_their_opposite_and_help_breaks_lines_where_they_are_full(
    splat: Splat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = splat("train", "--help-all").out
    assert "--viewer, --no-viewer" in shown and "--pictures, --no-pictures" in shown
    assert "side: no Gaussian in a ball of half the distance to the" in shown


def test_help_is_a_page_and_all_of_it_is_there_for_whoever_asks(
    splat: Splat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short, whole = (splat("train", word).out for word in ("--help", "--help-all"))
    assert len(short.splitlines()) < 150 < 2 * 150 < len(whole.splitlines())
    assert "--budget STR" in short and "--harmonics-every" not in short
    assert "--harmonics-every" in whole and "--help-all says" in short
    assert "mcmc" in short and "\N{NO-BREAK SPACE}" not in short + whole
    address = "Address to listen on."
    short, whole = (splat("view", word).said for word in ("--help", "--help-all"))
    assert address in short and f"{address} Any but this machine's own" not in short
    assert f"{address} Any but" in whole and "usage: splat view [-h] [OPTIONS] WHAT [WHAT]" in short


def test_suggest_takes_what_train_takes_and_shows_what_means_something_to_it(splat: Splat) -> None:
    for word in ("--help", "--help-all"):
        shown = splat("suggest", word).out
        assert "--share" in shown and "--steps" in shown
        for option in ("--out", "--overwrite", "--dry-run", "--tune ", "--host", "--blocks"):
            assert f" {option}" not in shown.split("with what was found.")[1]
    wrong = splat("suggest", "none", "-o", "run", "--overwrite", "--blocks", "auto")
    assert "none: does not exist" in wrong.err


def test_a_mistyped_option_is_sent_to_the_help_that_has_it(splat: Splat) -> None:
    wrong = splat("train", "scene", "mcmc", "--capp", "3k")
    assert wrong.code == 2 and "in splat train mcmc --help" in wrong.err
    assert "in splat train --help" in splat("train", "scene", "--resolutoin", "dash").err


def test_help_of_a_part(splat: Splat) -> None:
    shown = splat("train", "mcmc", "+", "protect", "--help")
    assert shown.code == 0 and "--reasons" in shown.out and "--base" not in shown.out
    assert "Rows that match a rule are not dropped" in shown.said
    assert "Rows that match" in splat("train", "mcmc", "+", "protect", "--help-all").said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("mcmc + protct", "perhaps you meant protect"),
        ("mcmc + protect --rul x", "--rule"),
        ("mcmc +", "nothing stands before or after a +"),
        ("mcmc + adc", "adc makes all rows faint now and then, and mcmc takes faint rows for dead"),
        ("mcmc + mcmc", "both move dead rows"),
        ("mcmc + freeze --rows inside", "holds nothing; expected --low x y z"),
        ("mcmc + significance", "say --how recycle"),
        ("adc + adc --reset-every 0", "statistic 'screen_gradient' has an owner already"),
        ("fixed + protect --rule age>1 + protect --rule age>2", "leave one of the two"),
        ("--recipe none.txt", "none.txt does not exist"),
        ("--budget much", "is no whole number"),
        ("--budget 99B", "holds no Gaussian"),
    ],
)
def test_what_does_not_compose_is_refused_at_once(
    splat: Splat, tmp_path: Path, arguments: str, words: str
) -> None:
    refused = splat("train", "scene", "--out", "run", *arguments.split())
    text = refused.said.replace("│ ", "")
    assert refused.code == 2 and words in text and "Traceback" not in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("clean", "x.ply"), "splat clean: give the file to write with -o"),
        (("train", "x", "--steps", "-5"), "splat train: steps is -5; expected 1 or more"),
        (("train", "x", "mcmc", "--cap", "-5"), "splat train: cap is -5; expected 1 or more"),
        (("train", "x", "--strategy", "mcmc"), "stands behind the options by its name alone, as"),
        (("train", "x", "--steps", "many"), "splat train: --steps: 'many' is no whole number; exp"),
        (("train", "x", "--minutes", "few"), "splat train: --minutes: 'few' is no number"),
        (("render", "x", "--from", "1", "2", "a"),
         "--from: '1', '2', 'a' does not fit; expected FLOAT FLOAT FLOAT"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_told_in_a_sentence(
    splat: Splat, words: tuple[str, ...], said: str
) -> None:
    for more in ((), ("--json",)):
        outcome = splat(*words, *more)
        assert outcome.code == 2 and said in outcome.err and "Error parsing" not in outcome.said


def test_boxes_of_hyphens_are_sentences_too() -> None:
    """As tyro draws them where stdout takes ASCII only."""
    box = (
        " Value error             \n ----------------------- \n"
        "  Error parsing --steps: no type matching N could be\n  instantiated from ['x'].\n\n"
        "  Got errors:\n  - <class 'int'>: 'x' is no whole number;\n  expected such as 7000\n"
        "  -----------------------\n  Argument helptext:\n      --steps N\n"
        "  -----------------------\n  For full helptext, see splat train --help\n"
    )
    with pytest.raises(ValueError) as caught, complaint(values_only=True):
        sys.stderr.write(box)
        raise SystemExit(2)
    assert str(caught.value) == "--steps: 'x' is no whole number; expected such as 7000"


def test_commands_that_help_shows_have_a_line_each(splat: Splat) -> None:
    for asked in ("--help", "--help-all"):
        lines = splat("export", asked).out.splitlines()
        assert "    splat export run/ -o scene.spz" in lines
        assert "    splat export run/ -o scene.spz --target-size 8MB" in lines
