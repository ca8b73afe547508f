"""A share of the failed operations and of the kills; `fail_ops` and `kill_storm` do all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from splat import formats
from splat.cli import VERBS
from splat.recipes.model_files import MODEL_FILES

ROOT = Path(__file__).resolve().parents[2]


def told(*arguments: str) -> str:
    """What a module of this folder prints, where it finds nothing."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout.removeprefix("skipped: ").strip())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


_WRITE_NOTHING = {"suggest", "info", "strategies", "doctor", "debug-step"}
"""Verbs that only print."""


def test_every_verb_that_writes_is_among_those_whose_operations_fail() -> None:
    cases = {*told("tests.hostile.fail_ops", "--list").split()}
    for verb in {*VERBS} - _WRITE_NOTHING:
        # What `splat view` writes is a timeline, and files as `splat export` does.
        starts = (f"{verb}.", f"{verb}-") if verb != "view" else ("viewer-",)
        assert verb in cases or any(map(str.startswith, cases, [starts] * len(cases))), verb
    for suffix in (*formats.suffixes(written=True, folders=True), *MODEL_FILES):
        assert f"export.{suffix.removeprefix('.')}" in cases, suffix


@pytest.mark.slow
def test_some_operations_of_some_verbs_may_fail() -> None:
    verbs = ("export.ply", "convert.spz", "train:60")
    asked = [word for verb in verbs for word in ("--verb", verb)]
    said = told("tests.hostile.fail_ops", "--every", "20", "--how", "kill,EIO", *asked)
    count = re.search(r"(\d+) failures, 0 neither old nor new, 0 findings", said)
    assert count is not None and int(count[1]) >= 6, said
    for verb in verbs:
        assert f"{verb.partition(':')[0]}: of " in said


@pytest.mark.slow
def test_a_run_and_a_verb_weather_six_kills() -> None:
    said = told(
        "tests.hostile.kill_storm", "--kills", "6", "--lives", "3", "--method", "mcmc", "--verb",
        "export.spz",
    )  # fmt: skip
    assert re.search(r"^6 kills, .* 0 findings", said, re.MULTILINE), said
