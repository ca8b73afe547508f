"""What programs rely on: schemas of what a run writes, errors as JSON, exit codes, and their page.

Every command of every test is held against the schemas besides (`run_files`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome
from run_files import SCHEMAS, validator

from splat.system import errors

jsonschema = pytest.importorskip("jsonschema")
PAGE = SCHEMAS.parent / "guide/scripting.md"


def test_a_run_fits_its_schemas_and_what_is_not_said_does_not(
    tiny_folder: Path, splat: Callable[..., Outcome]
) -> None:
    done = splat(
        "train", tiny_folder, "--out", "run", "--steps", 20, "--eval-every", 10, "--quiet", "--json"
    )
    assert done.code == 0, done.said
    record = json.loads(done.out)
    written = json.loads(Path("run/metrics.json").read_text())
    assert record == written and written["schema"] == 1
    lines = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert {key for line in lines for key in line} >= {"loss", "test_psnr"}
    for name, value, spoilt in (
        ("metrics", record, {"psnr_of_the_file": 1.0}),
        ("metrics", record, {"psnr": "37.9"}),
        ("log", lines[-1], {"lost": 1}),
        ("config", json.loads(Path("run/config.json").read_text()), {"version": 2}),
    ):
        validator(name).validate(value)
        with pytest.raises(jsonschema.ValidationError):
            validator(name).validate({**value, **spoilt})


@pytest.mark.parametrize(
    "arguments, kind, words",
    [
        (("eval", "nowhere", "--json"), "input", "nowhere does not exist"),
        (("info", "nowhere", "--jsom", "--json"), "input", "--jsom"),
        (("convert", "a.ply", "b.spz", "--sh-degree", "9", "--json"), "input", "sh-degree is 9"),
    ],
)
def test_with_json_an_error_is_json_too(
    splat: Callable[..., Outcome], arguments: tuple[str, ...], kind: str, words: str
) -> None:
    done = splat(*arguments)
    error = json.loads(done.out)["error"]
    assert done.code == error["exit_code"] == errors.BAD_INPUT and error["kind"] == kind
    assert words in error["message"] and error["message"] in done.err


def test_a_run_that_fails_says_so_in_json(
    tiny_folder: Path, splat: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("splat.datasets.read", short)
    done = splat("info", tiny_folder, "--json")
    assert json.loads(done.out)["error"]["kind"] == "failed"
    assert done.code == errors.FAILED


STRATEGY = """
from dataclasses import dataclass
import torch
from splat.core import Edit, Strategy
from splat.core.edit import Drop


@dataclass(frozen=True)
class Boom(Strategy):
    def refine(self, step):
        return self.there_is_none


@dataclass(frozen=True)
class Wrong(Strategy):
    def refine(self, step):
        return Edit(drop=(Drop(torch.tensor([10**6]), "x"),))
"""


@pytest.mark.parametrize(
    "text, name, code, words",
    [
        (STRATEGY, "Boom", 1, "own.py, line 11: AttributeError: 'Boom' object has no attribute"),
        (
            STRATEGY,
            "Wrong",
            1,
            "step 1: what Wrong proposes cannot be done: drop names rows outside",
        ),
        ("class Boom(:", "Boom", 2, "own.py, line 1: invalid syntax"),
    ],
)
def test_what_a_strategy_of_ones_own_does_wrong_is_said_with_its_name(
    text: str, name: str, code: int, words: str,
    tiny_folder: Path, tmp_path: Path, splat: Callable[..., Outcome],
) -> None:  # fmt: skip
    (tmp_path / "own.py").write_text(text)
    for out in ("a", "b"):  # the second time it is loaded already
        done = splat(
            "train", tiny_folder, "--out", out, "--steps", 5, "--quiet", "--json", f"own.py:{name}"
        )
        error = json.loads(done.out)["error"]
        assert done.code == error["exit_code"] == code and words in error["message"]
        assert "Traceback" not in done.err


def test_a_mistake_of_ours_is_json_too(
    splat: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def wrong(*_: object) -> None:
        raise KeyError("colour")

    monkeypatch.setattr("splat.cli.doctor._disk", wrong)
    with pytest.raises(KeyError):  # Python then shows the traceback
        splat("doctor", "--json")
    error = json.loads(capfd.readouterr().out)["error"]
    assert error["exit_code"] == errors.FAILED and "a mistake of splat's" in error["message"]


def test_no_verb_and_no_method_are_json_too(splat: Callable[..., Outcome]) -> None:
    for words, said in (
        (("trian", "x"), "perhaps you meant train"),
        (("train", "scene", "mcnc"), "there is no method 'mcnc'; perhaps you meant mcmc"),
        (("train", "scene", "bad.py"), "expected bad.py:CLASS"),
        (("train", "photos", "--prep", "--dry-run"), "find them with `splat prep photos -o"),
    ):
        done = splat(*words, "--json")
        assert done.code == 2 and said in json.loads(done.out)["error"]["message"]


def test_the_page_names_every_key_and_code() -> None:
    page = PAGE.read_text()
    for name in ("metrics", "log", "config"):
        assert f"../schemas/{name}.schema.json" in page
    codes = set(re.findall(r"^\| (128 \+ n|\d+) ", page, re.M))
    assert codes == {"0", "1", "2", "128 + n"}
