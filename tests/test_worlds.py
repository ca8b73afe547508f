"""What generated worlds share: a command line of a function, and folders made when asked for."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from splat.datasets.tracer import folders
from worlds import command


def written(
    folder: command.Folder, *, blocks: tuple[int, int] = (6, 5), points: int = 200_000
) -> Path:
    """Write.

    Args:
        folder: Where.
        blocks: How many.
        points: Of a cloud.
    """
    if points < 1:
        raise ValueError(f"points is {points}; expected at least 1")
    folder.write_text(f"{blocks} {points}")
    return folder


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["world", *arguments])
    command.run(written)


def test_a_function_is_its_own_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "town"
    asked(monkeypatch, str(file), "--blocks", "2x13", "--points", "1.5k")
    assert file.read_text() == "(2, 13) 1500"
    assert capsys.readouterr().out.startswith(f"{file}: drawn in ")
    asked(monkeypatch, str(file))
    assert file.read_text() == "(6, 5) 200000"


def test_what_the_command_line_got_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for size in ("6", "6x", "x5", "6x5x4", "ax5"):
        with pytest.raises(SystemExit):
            asked(monkeypatch, str(tmp_path / "town"), "--blocks", size)
        assert f"'{size}' is no size; expected two numbers" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="points is 0; expected at least 1"):
        asked(monkeypatch, str(tmp_path / "town"), "--points", "0")
    assert not (tmp_path / "town").exists()


def test_a_folder_is_made_once_for_its_arguments_and_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, made = tmp_path / "code", []
    code.mkdir()
    (code / "world.py").write_text("drawn = 1\n")

    def write(folder: Path, points: int, workers: int) -> None:
        made.append(folder.name)
        folder.mkdir(parents=True)

    def cached(points: int, workers: int = 1) -> Path:
        draw = partial(write, points=points, workers=workers)
        return folders.cached(tmp_path, "world", draw, [code], regardless=["workers"])

    first = cached(3)
    assert cached(3, workers=2) == first
    other = cached(4)
    (code / "world.py").write_text("drawn = 2\n")
    newer = cached(3)
    assert len({first, other, newer}) == 3 == len(made)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    home = folders.cached(None, "world", partial(write, points=3, workers=1), [code])
    assert home.parent == tmp_path / "home" / "splat"


def test_who_loses_a_race_takes_what_the_other_made(tmp_path: Path) -> None:
    def late(folder: Path) -> None:
        folder.mkdir(parents=True)
        raise FileExistsError(f"{folder}: exists already")

    assert folders.cached(tmp_path, "world", partial(late), []).is_dir()

    def full(folder: Path) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        folders.cached(tmp_path, "full", partial(full), [])
