"""The process that reads broken files one after the other: `python -m hostile.worker ...`.

It is told on its standard input what to read, says in lines of JSON what became of it, and notes in
a file which input it is at, so that whoever finds it dead or stuck knows.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any, TextIO

import numpy as np

from splat.system import foreign
from splat.system.foreign import FOLD

from . import judge
from .judge import Verdict
from .mutate import mutated
from .readers import READERS, Reader, quietly

ROOM = 6 << 30
"""Bytes that a process may map beside what it has once all is imported."""
AGAIN = 16
"""Of so many files that are read, one is read again, to give the same bits."""
_PERTURB = -6
"""`mallopt`'s number for what new memory is filled with (glibc)."""


class Station:
    """A reader with its seeds in a folder of this process' own."""

    def __init__(
        self, reader: Reader, source: Path, folder: Path, tell: Callable[[int], object] = id
    ) -> None:
        """`tell` is told the number of each read of an input before it is begun."""
        self.reader, self._tell = reader, tell
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source / reader.name, folder)
        self.seeds: list[tuple[Path, list[tuple[str, str]]]] = []
        self.whole: dict[tuple[int, str], bytes] = {}
        for k in range(len(reader.makers)):
            root = folder / str(k)
            targets = json.loads((folder / f"{k}.json").read_text())
            self.seeds.append((root, sorted(targets.items())))
            for name in targets:
                self.whole[k, name] = (root / name).read_bytes()
        self._dirty: tuple[int, str] | None = None

    def input(self, seed: str, i: int) -> tuple[int, str, bytes]:
        """Seed, file and contents of an input, by its number."""
        draw = Random(f"{seed} {self.reader.name} {i}")
        k = draw.randrange(len(self.seeds))
        name, kind = draw.choice(self.seeds[k][1])
        return k, name, mutated(self.whole[k, name], kind, draw)

    def tried(self, k: int, name: str, data: bytes, again: bool) -> Verdict:
        """What the first read makes of an input, or what goes wrong in any of them."""
        if self._dirty is not None and self._dirty != (k, name):
            other, its = self._dirty
            (self.seeds[other][0] / its).write_bytes(self.whole[self._dirty])
        self._dirty = (k, name)
        root = self.seeds[k][0]
        path = root / name
        found: Verdict | None = None
        for number, read in enumerate(self.reader.reads):
            if not number or not path.is_file() or path.stat().st_size != len(data):
                path.unlink(missing_ok=True)
                path.write_bytes(data)
            self._tell(number)
            one = _one(read, root, path, data, again)
            if one.kind in judge.FINDINGS:
                return one
            found = found or one  # the first read counts
        assert found is not None
        return found


def _one(read: Any, root: Path, path: Path, data: bytes, again: bool) -> Verdict:
    try:
        value = read(root, path)
        if again:
            first = judge.digest(value)
            del value
            with _Poisoned():
                path.write_bytes(data)
                if judge.digest(read(root, path)) != first:
                    return Verdict(judge.CHANGING, "", "", "the same file gave other values")
    except BaseException as error:  # whatever it is, it is what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        return judge.of_error(error, root, path)
    return Verdict(judge.READ)


class _Poisoned:
    """Memory that is not written before it is read holds something else here than before."""

    _libc = ctypes.CDLL(None)

    def __enter__(self) -> None:
        # NumPy keeps small blocks by itself, so these are filled one by one.
        for size in (*range(8, 1024, 8),):
            blocks = [np.empty(size, np.uint8) for _ in range(8)]
            for block in blocks:
                block.fill(0xA5)
        if hasattr(self._libc, "mallopt"):
            self._libc.mallopt(_PERTURB, 0x5A)

    def __exit__(self, *_: object) -> None:
        if hasattr(self._libc, "mallopt"):
            self._libc.mallopt(_PERTURB, 0)


def noting_edges() -> set[str]:
    """The edges that are passed from here on, as MODULE: WHAT IS EXPECTED."""
    passed: set[str] = set()
    kept = foreign.reading

    def reading(path: Path, expected: str, remedy: str = "") -> Any:
        passed.add(f"{sys._getframe(1).f_globals['__name__']}: {expected}")
        return kept(path, expected, remedy)

    for module in [*sys.modules.values()]:
        if getattr(module, "reading", None) is kept:
            module.reading = reading  # type: ignore[attr-defined]
    return passed


def peak() -> int:
    """Most memory that this process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Begin anew with what memory it has now, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def serve(source: Path, folder: Path, orders: TextIO, answers: TextIO) -> None:
    """Read what is asked for until nothing is."""
    by_name = {reader.name: reader for reader in READERS}
    stations: dict[str, Station] = {}
    edges = noting_edges()
    place = os.open(folder / "at", os.O_RDWR | os.O_CREAT)

    def at_read(number: int) -> None:
        os.pwrite(place, number.to_bytes(8, "little"), 8)

    base = 0
    for line in orders:
        order = json.loads(line)
        name = order["reader"]
        if name not in stations:
            stations[name] = Station(by_name[name], source, folder / name, at_read)
            # Every reader is tried on what is whole first: what it imports is no memory of its own.
            for (k, target), data in stations[name].whole.items():
                verdict = stations[name].tried(k, target, data, again=True)
                if verdict.kind != judge.READ:
                    _say(answers, {"broken seed": f"{name} {k} {target}: {verdict}"})
            base = 0
        base = base or peak()
        _say(answers, {"begun": True})
        counts: Counter[str] = Counter()
        slowest, most = (0.0, -1), base
        for i in range(order["start"], order["stop"]):
            os.pwrite(place, i.to_bytes(8, "little"), 0)
            since = time.monotonic()
            if "file" in order:
                k, target, data = order["k"], order["target"], Path(order["file"]).read_bytes()
            else:
                k, target, data = stations[name].input(order["seed"], i)
            if peak() > max(base, most):  # a bomb takes memory to make, too
                forget_peak()
            verdict = stations[name].tried(k, target, data, order.get("again") or i % AGAIN == 0)
            most = peak()
            if most - base > max(by_name[name].memory, FOLD * len(data)):
                said = f"{(most - base) / 1e9:.1f} GB for {len(data):,} bytes; {verdict.said}"
                verdict = Verdict(judge.MEMORY, "peak", verdict.where, said)
            counts[verdict.kind] += 1
            slowest = max(slowest, (time.monotonic() - since, i))
            if verdict.kind in judge.FINDINGS:
                _say(answers, {"i": i, "k": k, "target": target, "size": len(data),
                               "verdict": asdict(verdict)})  # fmt: skip
            if verdict.what == "peak":
                # What it had at most never goes down, so only a new process can judge on.
                _say(answers, {"done": i + 1, "counts": counts, "slowest": slowest, "tired": True})
                return
        done = {"done": order["stop"], "counts": counts, "slowest": slowest}
        _say(answers, {**done, "edges": sorted(edges)})


def _say(answers: TextIO, record: dict[str, Any]) -> None:
    answers.write(json.dumps(record) + "\n")
    answers.flush()


def make_seeds(source: Path, names: list[str]) -> None:
    """The whole files of readers, a folder each."""
    for reader in READERS:
        if names and reader.name not in names:
            continue
        for k, maker in enumerate(reader.makers):
            root = source / reader.name / str(k)
            root.mkdir(parents=True)
            targets = maker(root)
            (source / reader.name / f"{k}.json").write_text(json.dumps(targets))


def write_inputs(source: Path, target: Path, seed: str, wanted: list[dict[str, Any]]) -> str:
    """Make inputs by their numbers, as files of a folder; what and where they are, as JSON."""
    by_name = {reader.name: reader for reader in READERS}
    places = {}
    for want in wanted:
        reader = by_name[want["reader"]]
        station = Station(reader, source, source.parent / "made" / reader.name)
        k, name, data = station.input(seed, want["i"])
        file = f"{want['slug']}{Path(name).suffix}.bin"
        (target / file).write_bytes(data)
        places[want["slug"]] = (k, name, file, len(data))
    return json.dumps(places)


def main() -> None:
    """`SEEDS list`, `SEEDS make NAME ...`, `SEEDS serve FOLDER`, or `SEEDS write FOLDER SEED`."""
    source, verb, *rest = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    if verb == "list":
        answers.write("\n".join(reader.name for reader in READERS) + "\n")
        return
    with quietly():
        if verb == "make":
            make_seeds(Path(source), rest)
            return
        folder = Path(rest[0])
        if verb == "write":
            answers.write(write_inputs(Path(source), folder, rest[1], json.load(sys.stdin)))
            return
        log = (folder / "died").open("w")
        faulthandler.enable(log)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        # Libraries print warnings about broken pictures.
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.stdout = sys.stderr = open(os.devnull, "w")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        room = pages * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(folder)
        serve(Path(source), folder, sys.stdin, answers)


if __name__ == "__main__":
    main()
