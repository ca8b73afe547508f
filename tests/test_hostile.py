"""Broken files: every reader reads them, or refuses them in a sentence that names the file."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hostile import fuzz

from splat import datasets, formats

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory and time are taken from /proc"),
]
EACH = 60
"""Inputs of a reader."""
SEED = "tests"


_NOT_READ = {
    "splat.blocks.figures": "figures of a merged scene, which is trained and drawn for them",
    "splat.cli.dream": "settings of what is then dreamt",
    "splat.strategies.garment.verbs.dress": "settings of a dream, besides its checkpoint",
    "splat.cli.train_generator": "settings of what is then trained",
    "splat.cli.train_teacher": "settings of what is then trained",
    "splat.strategies.acoustic.verbs.train_audio": "settings of what is then trained",
    "splat.system.foreign": "where the edge is made",
}
"""Modules with an edge of `splat.system.foreign.reading` that nothing is given to here, and why."""


def check_all_readers_are_there(edges: set[str]) -> None:
    """Whatever module has an edge for files of strangers, and whatever lists name, was read."""
    modules = {edge.partition(": ")[0] for edge in edges}
    left = {module for module in _with_edges() if module not in modules} - {*_NOT_READ}
    assert not left, f"{left}: no reader of tests/hostile/readers.py passes their edges"
    # One edge serves all formats, and one all scenes.
    for suffix in formats.suffixes():
        assert any(e.startswith(f"splat.formats: a whole {suffix};") for e in edges), suffix
    for reader in datasets.readers():
        assert any(e.startswith(f"splat.datasets: {reader.EXPECTS}:") for e in edges), reader


def _with_edges() -> Iterator[str]:
    root = Path(__file__).resolve().parents[1]
    for room in ("splat", "strategies", "datasets", "viewer"):
        for file in (root / room).rglob("*.py"):
            if re.search(r"\b(with|,)\s+(foreign\.)?reading\(", file.read_text("utf-8")):
                parts = file.relative_to(root).with_suffix("").parts
                name = ".".join(parts if room == "splat" else ("splat", *parts))
                yield name.removesuffix(".__init__")


def test_broken_files_are_read_or_refused_in_a_sentence() -> None:
    """Those that once were findings, and as many new ones of each reader."""
    names, kept = fuzz.reader_names(), fuzz.kept_inputs(fuzz.KEPT)
    again = Counter(entry["reader"] for entry in kept)
    assert again and set(again) <= set(names)
    tally = fuzz.fuzz(names, seed=SEED, count=EACH, workers=2, kept=kept)
    assert not tally.notes, tally.notes
    assert set(tally.counts) == set(names)
    for name, counts in tally.counts.items():
        assert counts["read"] and counts.total() == EACH + again[name], f"{name}: {counts}"
    assert not tally.findings, f"{tally.table()}\n{fuzz.told(tally, SEED)}"
    check_all_readers_are_there(tally.edges)


@pytest.mark.skipif(find_spec("pxr") is not None, reason="usd-core is installed")
def test_usd_is_not_among_them() -> None:
    pytest.skip("usd-core, for USD, is not installed")
