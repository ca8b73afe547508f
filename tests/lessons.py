"""What every training of networks owes, for the tests of the generator and of the teacher."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from splat import cli
from splat.cli import taught
from splat.generate.course import Course
from splat.runs import checkpoint


def cut(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Trainings are interrupted at a step."""
    advance = Course.advance

    def cut_or_advance(self: Course) -> tuple[str, float]:
        if self.step == at:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(Course, "advance", cut_or_advance)


def assert_learns(learning: Course, lessons: Any, share: float) -> None:
    """Every loss of the running means falls to less than a share of it."""
    before = learning.held_out(lessons)
    while learning.step < learning.steps:
        learning.advance()
    after = learning.held_out(lessons)
    assert all(after[name] < share * loss for name, loss in before.items())


def assert_breaks_change_nothing(
    begun: Callable[[int], Course], steps: int, breaks: Mapping[int, int], folder: Path
) -> None:
    """On two threads, and gone on with after some steps on so many, it has the bytes of one that
    never stopped, on one."""
    whole, halves = begun(1), begun(2)
    while whole.step < steps:
        whole.advance()
    while halves.step < steps:
        halves.advance()
        if halves.step in breaks:
            checkpoint.write(halves.state(), folder / "s.pt")
            halves = begun(breaks[halves.step])
            halves.restore(torch.load(folder / "s.pt", weights_only=True))
    for name, each in (("one", whole), ("two", halves)):
        checkpoint.write(each.state(), folder / name)
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()


def resumed(
    command: Sequence[str],
    quick: Sequence[str],
    whole: Path,
    out: Path,
    at: int,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """The metrics of a training that is cut at a step after its checkpoint, gone on with, and makes
    the same file as that of the command in whole."""
    verb, corpus = command
    monkeypatch.setattr(taught, "SAVE_EVERY", at - 1)
    with monkeypatch.context() as patched:
        cut(patched, at)
        assert cli.main([verb, corpus, "-o", str(out), *quick]) == 130
    assert cli.main([verb, "-o", str(out), "--resume", "--quiet"]) == 0
    assert (out / whole.name).read_bytes() == whole.read_bytes()
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def assert_refuses(
    read: Callable[[Path], object],
    whole: Path,
    kind: str,
    folder: Path,
    broken: Mapping[str, Mapping[str, Any]],
) -> None:
    """What is no file of this kind is refused in a sentence; `broken`: words of it, and what is
    other in a file."""

    def said(path: Path) -> str:
        with pytest.raises((ValueError, OSError)) as refused:
            read(path)
        assert str(path) in str(refused.value) and "\n" not in str(refused.value)
        return str(refused.value)

    assert f"holds no {kind}; train one" in said(folder / "none")
    kept, file = torch.load(whole, weights_only=True), folder / whole.name
    for words, change in {
        f"{kind} format 9": {"version": 9},
        f"is no {kind} of splat": {"format": "photos"},
        **broken,
    }.items():
        torch.save({**kept, **change}, file)
        assert words in said(file)
    file.write_bytes(pickle.dumps({"weights": Path("/")}))
    assert f"cannot be read as a {kind}" in said(file)
    torch.save({"format": kept["format"], "version": 1, "networks": Path("/")}, file)
    assert "more than tensors, numbers and texts" in said(file)
