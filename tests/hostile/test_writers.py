"""A share of the failed operations and of the kills; `fail_ops` and `kill_storm` do all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_each_fifth_operation_of_some_verbs_may_fail() -> None:
    verbs = ("export.ply", "convert.spz", "train:60")
    asked = [word for verb in verbs for word in ("--verb", verb)]
    said = told("tests.hostile.fail_ops", "--every", "5", "--how", "kill,EIO", *asked)
    count = re.search(r"(\d+) failures, 0 neither old nor new, 0 findings", said)
    assert count is not None and int(count[1]) >= 12, said
    for verb in verbs:
        assert f"{verb.partition(':')[0]}: of " in said


@pytest.mark.slow
def test_a_run_and_a_verb_weather_ten_kills() -> None:
    said = told(
        "tests.hostile.kill_storm", "--kills", "10", "--lives", "5", "--method", "mcmc", "--verb",
        "export.spz",
    )  # fmt: skip
    assert re.search(r"^10 kills, .* 0 findings", said, re.MULTILINE), said
