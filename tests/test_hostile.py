"""Broken files: every reader reads them, or refuses them in a sentence that names the file."""

from __future__ import annotations

import sys

import pytest
from hostile import fuzz

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory and time are taken from /proc"),
]
EACH = 100
"""Inputs of a reader; all of them take about a minute of a core."""
SEED = "tests"


def test_what_once_was_a_finding_stays_mended() -> None:
    kept = fuzz.kept_inputs(fuzz.KEPT)
    names = sorted({entry["reader"] for entry in kept})
    assert names and set(names) <= set(fuzz.reader_names())
    tally = fuzz.fuzz(names, seed=SEED, count=0, kept=kept)
    assert sum(map(lambda counts: counts.total(), tally.counts.values())) == len(kept)
    assert not tally.findings, fuzz.told(tally, SEED)


def test_broken_files_are_read_or_refused_in_a_sentence() -> None:
    names = fuzz.reader_names()
    tally = fuzz.fuzz(names, seed=SEED, count=EACH, workers=2)
    assert not tally.notes, tally.notes
    assert set(tally.counts) == set(names)
    for name, counts in tally.counts.items():
        assert counts["read"] and sum(counts.values()) == EACH, f"{name}: {counts}"
    assert not tally.findings, f"{tally.table()}\n{fuzz.told(tally, SEED)}"
