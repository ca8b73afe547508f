"""Processes of their own for libraries that meet files of strangers: what they may, and may not."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from splat.system.confined import Bounds, Heard, begun, told
from splat.system.foreign import Broken

Telling = Callable[[str], "contextmanager[Heard]"]
BOUNDS = Bounds(1 << 28, 60.0)
limits = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")


@pytest.fixture
def telling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Telling:
    """What a process says whose `main` does this, once it is confined."""
    monkeypatch.syspath_prepend(str(tmp_path))

    @contextmanager
    def telling(body: str, bounds: Bounds = BOUNDS) -> Iterator[Heard]:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        (tmp_path / "teller.py").write_text(
            "import os, socket, sys, time\n"
            "from splat.system.confined import Bounds, confine, say, shut\n"
            "def main(words):\n"
            "    memory, seconds, *rest = words\n"
            f"    confine(Bounds(int(memory), int(seconds)))\n{lines}"
        )
        variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        process = begun("teller", ["a", "b"], bounds, variables)
        with told(process, "somelib", bounds) as heard:
            yield heard

    return telling


def test_records_and_numbers_are_heard(telling: Telling) -> None:
    with telling("import numpy\nsay({'a': rest}, numpy.arange(6, dtype='f4').data.cast('B'))") as h:
        assert h.record().texts("a") == ("a", "b")
        assert h.floats(2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(Broken, match=r"ends somelib \(exit code 0\): it is broken"):
            h.record()


def test_what_it_finds_wrong_is_said(telling: Telling) -> None:
    with telling("say({'broken': 'has a hole'})") as heard, pytest.raises(Broken, match="has a h"):
        heard.record()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(
            "os.abort()", r"ends somelib \(SIGABRT\): it is broken, or needs more than 0.268 GB",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's"),
        ),
        ("sys.exit(3)", r"takes somelib more than 0.268 GB of memory"),
        ("print('[' * 9, flush=True)", "is not JSON"),
        ("print('7', flush=True)", "expected a JSON object"),
        ("while True: sys.stdout.write('x' * 9999)", "ends somelib"),
        ("os.close(1); time.sleep(600)", "ends somelib"),
        pytest.param("say({'n': len(bytearray(1 << 29))})", r"ends somelib \(exit code 1\)",
                     marks=limits),
    ],
)  # fmt: skip
def test_an_end_is_a_sentence(telling: Telling, body: str, said: str) -> None:
    with telling(body) as heard, pytest.raises(Broken, match=said):
        heard.record()


def test_numbers_that_do_not_come_are_no_numbers(telling: Telling) -> None:
    with telling("say({}, bytes(20))") as heard:
        heard.record()
        with pytest.raises(Broken, match="ends somelib"):
            heard.floats(2, 3)


def test_time_is_bounded(telling: Telling) -> None:
    since = time.monotonic()
    with (
        telling("while True: pass", Bounds(1 << 28, 2.0)) as heard,
        pytest.raises(Broken, match="takes somelib more than 2 s"),
    ):
        heard.record()
    assert time.monotonic() - since < 30


def test_it_ends_when_it_is_no_longer_heard(telling: Telling, tmp_path: Path) -> None:
    with telling("say({'number': os.getpid()})\ntime.sleep(600)") as heard:
        number = heard.record().whole("number")
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


@limits
def test_nothing_is_written_or_opened(telling: Telling, tmp_path: Path) -> None:
    body = f"""
odd = []
shut()
for call in (lambda: open({str(tmp_path / "teller.py")!r}), lambda: socket.socket()):
    try:
        call()
        odd.append("open")
    except OSError:
        pass
say({{"odd": odd}})"""
    with telling(body) as heard:
        assert heard.record().texts("odd") == ()
    body = f"""
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with open({str(tmp_path / "left")!r}, "wb") as file:
        file.write(b"x")
    say({{"wrote": True}})
except OSError:
    say({{"wrote": False}})"""
    with telling(body) as heard:
        assert not heard.record().flag("wrote")


def test_a_library_that_does_not_load_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "teller.py").write_text("import nothing_of_this_name\n")
    process = begun("teller", [], BOUNDS, os.environ)
    with (
        told(process, "somelib", BOUNDS) as heard,
        pytest.raises(ImportError, match=r"somelib does not load .*No module named 'nothing_of"),
    ):
        heard.record()
