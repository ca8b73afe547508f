"""Tutorials are executed as they stand, on tiny scenes; troubleshooting quotes what is said.

A tutorial's blocks of `sh` are run in order in a folder of their own, and its files written.
Comments of the page, `<!-- tests: WORDS => OTHERS -->`, say what is made smaller.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from transcripts import TUTORIALS, blocks, commands

from splat.cli import main
from worlds.command import run
from worlds.district.files import write

ROOT = Path(__file__).resolve().parent.parent


def carried_out(line: str) -> None:
    words = shlex.split(line)
    if words[0] == "cp":
        shutil.copytree(words[2], words[3])
    elif words[0] == "splat":
        assert main(words[1:]) == 0, line
    else:
        assert words[:4] == ["PYTHONPATH=bench", "python", "-m", "worlds.district"], line
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["worlds.district", *words[4:]])
            run(write)


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where one who follows a tutorial is, with what `splat prep` makes of photos."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_folder, "scene")
    shutil.copytree(tiny_folder, "posed")
    return tmp_path


@pytest.mark.slow
def test_your_photos(folder: Path) -> None:
    shutil.rmtree("scene")
    for line in commands(TUTORIALS / "your-photos.md"):
        carried_out(line)
    page = Path("scene.html").read_text()
    assert "<canvas" in page and Path("scene.spz").stat().st_size > 1000


@pytest.mark.slow
def test_your_own_strategy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = TUTORIALS / "your-own-strategy.md"
    ((_, source),) = [block for block in blocks(page) if block[0] == "python"]
    Path("unseen.py").write_text(source)
    for line in commands(page):
        carried_out(line)
    assert "Rows that no photo showed since the last look" in capsys.readouterr().out
    assert list(Path("report").glob("*.html"))


@pytest.mark.slow
def test_a_drone_flight(folder: Path) -> None:
    for line in commands(TUTORIALS / "a-drone-flight.md"):
        carried_out(line)
    assert Path("tiles/tileset.json").is_file() and Path("town.html").is_file()
    assert len(list(Path("run/blocks").iterdir())) >= 2


def test_troubleshooting_quotes_what_is_said() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text()
    quoted = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    assert len(quoted) > 15
    sources = [
        path.read_text()
        for room in ("splat", "datasets", "strategies", "viewer")
        for path in sorted((ROOT / room).rglob("*.py"))
    ]
    # Texts of several lines are one when they are said; names in braces are filled in.
    plain = [re.sub(r"\"\n\s*f?\"", "", text) for text in sources]
    for words in quoted:
        pieces = [piece for piece in re.split(r"--\w+ ", words) if piece]
        assert any(all(piece in text for piece in pieces) for text in plain), words
