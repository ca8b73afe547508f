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

    monkeypatch.setattr("splat.api.read_scene", short)
    done = splat("info", tiny_folder, "--json")
    assert json.loads(done.out)["error"]["kind"] == "failed"
    assert done.code == errors.FAILED


def test_the_page_names_every_key_and_code() -> None:
    page = PAGE.read_text()
    for name in ("metrics", "log", "config"):
        assert f"../schemas/{name}.schema.json" in page
    codes = set(re.findall(r"^\| (128 \+ n|\d+) ", page, re.M))
    assert codes == {"0", "1", "2", "128 + n"}
