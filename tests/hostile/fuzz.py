"""Broken files for every reader: `python -m tests.hostile.fuzz --minutes 600`.

An input is made from its number, the reader's name and `--seed`, so that it can be made again:
`--only NAME --first I --count 1`. Findings go to a folder, the smallest input of each mistake with
a note; `--replay FOLDER` reads those of a folder again. Exit code 1 where there are any.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
KEPT = HERE / "seeds"
"""Inputs that once were findings, and are read again by every test."""
HANG, HANG_BUSY = 20.0, 240.0
"""Seconds of one read after which it hangs: of its own time, or of the clock on a busy machine."""
PART = 50
"""Inputs that a process is told to read at a time."""
SHARE = 1.0
"""Times the mean that a slow reader may take where a number of inputs over all is asked for."""
_COLUMNS = ("read", "refused", "traceback", "unnamed", "hang", "crash", "memory", "changing")


@dataclass
class Finding:
    """One mistake, with the smallest input that shows it."""

    reader: str
    kind: str
    what: str
    where: str
    said: str
    k: int
    target: str
    size: int
    i: int
    times: int = 1

    @property
    def key(self) -> str:
        """Same mistake, same key: by function, not by line."""
        place = self.where.split(":")[0] + " " + self.where.rpartition(" ")[2]
        return f"{self.reader} {self.kind} {self.what} {place}"

    @property
    def slug(self) -> str:
        """Name of its files."""
        return f"{self.reader}-{self.kind}-{hashlib.sha256(self.key.encode()).hexdigest()[:8]}"


@dataclass
class Tally:
    """What became of all inputs."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    findings: dict[str, Finding] = field(default_factory=dict)
    slowest: dict[str, tuple[float, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    lock: threading.Lock = field(default_factory=threading.Lock)
    notes: list[str] = field(default_factory=list)
    edges: set[str] = field(default_factory=set)
    """Edges of readers that were passed, as MODULE: WHAT IS EXPECTED."""

    def add(self, found: Finding) -> None:
        """Count a finding; the smallest input of its kind is kept."""
        with self.lock:
            known = self.findings.setdefault(found.key, found)
            if known is not found:
                found.times = known.times + 1
                known.times += 1
                if found.size < known.size:
                    self.findings[found.key] = found

    def inputs(self) -> int:
        """How many were read."""
        with self.lock:
            return sum(sum(counts.values()) for counts in self.counts.values())

    def table(self) -> str:
        """Counts of every reader, and of all."""
        rows = [["reader", "inputs", *_COLUMNS, "slowest s", "inputs/s"]]
        total: Counter[str] = Counter()
        for name, counts in sorted(self.counts.items()):
            total += counts
            inputs = sum(counts.values())
            rate = inputs / self.seconds[name] if self.seconds[name] else 0
            slow = self.slowest.get(name, (0.0, 0))[0]
            rows.append([name, f"{inputs:,}", *(f"{counts[c]:,}" for c in _COLUMNS),
                         f"{slow:.2f}", f"{rate:.0f}"])  # fmt: skip
        whole = max((self.slowest.get(name, (0.0, 0))[0] for name in self.counts), default=0.0)
        rows.append(["all", f"{sum(total.values()):,}", *(f"{total[c]:,}" for c in _COLUMNS),
                     f"{whole:.2f}", ""])  # fmt: skip
        widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(w) if not j else cell.rjust(w)
                      for j, (cell, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows
        )  # fmt: skip


class Worker:
    """A process that reads, started anew where an input kills it."""

    def __init__(self, seeds: Path, folder: Path) -> None:
        self._seeds, self._folder = seeds, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[str] | None = None
        self._watch = threading.Thread(target=self._watching, daemon=True)
        self._busy, self._stuck = False, ""
        self._watch.start()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    def read(self, order: dict[str, Any], tally: Tally) -> None:
        """Have inputs read, from `start` to before `stop`, whatever they do to the process."""
        while order["start"] < order["stop"]:
            since = time.monotonic()
            order = {**order, "start": self._some(order, tally)}
            tally.seconds[order["reader"]] += time.monotonic() - since

    def _some(self, order: dict[str, Any], tally: Tally) -> int:
        """The number of the input to go on with."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        name = order["reader"]
        self._note(order["start"])
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                record = json.loads(line)
                if "begun" in record:  # what comes before takes long on a busy machine
                    self._busy = True
                elif "broken seed" in record:
                    with tally.lock:
                        tally.notes.append(record["broken seed"])
                elif "done" in record:
                    with tally.lock:
                        tally.counts[name].update(record["counts"])
                        tally.edges.update(record.get("edges", ()))
                        slow = (record["slowest"][0], record["slowest"][1])
                        tally.slowest[name] = max(tally.slowest.get(name, (0.0, 0)), slow)
                    if record.get("tired"):
                        print(f"{name} {record['done'] - 1}: memory", file=sys.stderr, flush=True)
                        self.close()
                    return int(record["done"])
                else:
                    v = record["verdict"]
                    tally.add(Finding(name, v["kind"], v["what"], v["where"], v["said"],
                                      record["k"], record["target"], record["size"],
                                      record["i"]))  # fmt: skip
        except BrokenPipeError:
            pass
        finally:
            self._busy = False
        return self._died(process, order, tally)

    def _died(self, process: subprocess.Popen[str], order: dict[str, Any], tally: Tally) -> int:
        self._process = None
        code = process.wait()
        if not (self._folder / "died").is_file():
            raise RuntimeError(f"a process that reads ended as it began, with exit code {code}")
        at = self._at()
        log = (self._folder / "died").read_text("utf-8", "replace")
        kind, what = ("hang", "Hang") if self._stuck else ("crash", _signal(code))
        where = next(
            (f"{file.partition('/splat/')[2]}:{number} {function}"
             for file, number, function in _frames(log) if "/splat/" in file),
            "outside",
        )  # fmt: skip
        said, self._stuck = self._stuck or f"exit code {code}", ""
        name = order["reader"]
        with tally.lock:
            # What it counted before went down with it.
            tally.counts[name].update({kind: 1})
            lost = at - order["start"]
            tally.counts[name].update({"refused": max(0, lost)})
        found = Finding(name, kind, what, f"splat/{where}", said, -1, "", 1 << 40, at)
        tally.add(found)
        print(f"{name} {at}: {kind} {what} {found.where}", file=sys.stderr, flush=True)
        return at + 1

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            (self._folder / "died").unlink(missing_ok=True)
            command = [sys.executable, "-m", "hostile.worker", str(self._seeds), "serve",
                       str(self._folder)]  # fmt: skip
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=environment(), cwd=self._folder,
            )  # fmt: skip
        return self._process

    def _note(self, i: int) -> None:
        (self._folder / "at").write_bytes(i.to_bytes(16, "little"))

    def _at(self) -> int:
        """Number of the input that is read."""
        return self._place() & ((1 << 64) - 1)

    def _place(self) -> int:
        """The same, and in the bits above which of its reads goes on."""
        return int.from_bytes((self._folder / "at").read_bytes(), "little")

    def _watching(self) -> None:
        """Abort the process where an input takes too long; it says then where it was."""
        last, since, spent = -1, time.monotonic(), 0.0
        while True:
            time.sleep(0.5)
            process = self._process
            if process is None or not self._busy:
                last = -1
                continue
            at, now = self._place(), _cpu_seconds(process.pid)
            if at != last or now < spent:
                last, since, spent = at, time.monotonic(), now
            elif now - spent > HANG or time.monotonic() - since > HANG_BUSY:
                self._stuck = f"no end after {now - spent:.0f} s of its own time"
                process.send_signal(signal.SIGABRT)
                time.sleep(2)
                if process.poll() is None:
                    process.kill()
                last = -1


def environment() -> dict[str, str]:
    """Of processes that read: one thread each, and our modules."""
    paths = [str(HERE.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
            "OPENCV_LOG_LEVEL": "OFF", "OPENCV_FFMPEG_LOGLEVEL": "-8"}  # fmt: skip


def reader_names() -> list[str]:
    """All readers."""
    command = [sys.executable, "-m", "hostile.worker", "-", "list"]
    done = subprocess.run(
        command, env=environment(), cwd=tempfile.gettempdir(), text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"the readers cannot be imported:\n{done.stderr}")
    return done.stdout.split()


def whole_files(folder: Path, names: Sequence[str]) -> Path:
    """Seeds of readers, in a folder that is made."""
    seeds = folder / "seeds"
    command = [sys.executable, "-m", "hostile.worker", str(seeds), "make", *names]
    done = subprocess.run(
        command, env=environment(), cwd=folder, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the whole files cannot be made:\n{done.stderr}")
    return seeds


def fuzz(
    names: Sequence[str],
    *,
    seed: str,
    count: int,
    minutes: float = 1e9,
    workers: int = 1,
    first: int = 0,
    kept: Sequence[dict[str, Any]] = (),
    inputs: int = 0,
) -> Tally:
    """Give readers `count` inputs each, for so many minutes at most; and the `kept` ones first.

    With `inputs` it ends after so many over all readers; those whose inputs take long, as large
    pictures do, sit out where they have had `SHARE` times the mean time.
    """
    tally, end = Tally(), time.monotonic() + 60 * minutes
    memory = Path("/dev/shm")
    root = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hostile-", dir=root) as temporary:
        folder = Path(temporary)
        seeds = whole_files(folder, names)
        orders = _orders(names, seed, first, count, kept, tally if inputs else None, inputs)
        lock = threading.Lock()

        def work(number: int) -> None:
            worker = Worker(seeds, folder / f"worker{number}")
            while time.monotonic() < end:
                with lock:
                    order = next(orders, None)
                if order is None:
                    break
                worker.read(order, tally)
            worker.close()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return tally


def _orders(
    names: Sequence[str],
    seed: str,
    first: int,
    count: int,
    kept: Sequence[dict[str, Any]],
    tally: Tally | None,
    inputs: int,
) -> Iterator[dict[str, Any]]:
    for entry in kept:
        if entry["reader"] in names:
            yield {**entry, "seed": seed, "start": 0, "stop": 1, "again": True}
    for start in range(first, first + count, PART):
        stop = min(first + count, start + PART)
        for name in names:
            if tally is not None:
                if tally.inputs() >= inputs:
                    return
                if tally.seconds[name] * len(names) > SHARE * sum(tally.seconds.values()):
                    continue
            yield {"reader": name, "seed": seed, "start": start, "stop": stop}


def kept_inputs(folder: Path) -> list[dict[str, Any]]:
    """The inputs of a folder of findings, or of those that are kept."""
    notes = sorted(folder.glob("*.json"))
    entries = [json.loads(note.read_text()) for note in notes]
    return [
        {"reader": e["reader"], "k": e["k"], "target": e["target"],
         "file": str((folder / e["file"]).resolve())}
        for e in entries
    ]  # fmt: skip


def store(tally: Tally, folder: Path, seed: str) -> None:
    """Write the smallest input of every finding, and a note that says what it does."""
    if not tally.findings:
        return
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [
        {"reader": f.reader, "i": f.i, "slug": f.slug} for f in tally.findings.values() if f.i >= 0
    ]
    with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
        seeds = whole_files(Path(temporary), sorted({w["reader"] for w in wanted}))
        command = [sys.executable, "-m", "hostile.worker", str(seeds), "write", str(folder), seed]
        done = subprocess.run(
            command, env=environment(), cwd=temporary, text=True, input=json.dumps(wanted),
            capture_output=True, check=False,
        )  # fmt: skip
    if done.returncode:
        print(f"inputs could not be written: {done.stderr}", file=sys.stderr)
        return
    places = json.loads(done.stdout)
    for found in tally.findings.values():
        if found.slug not in places:
            continue
        k, target, file, size = places[found.slug]
        note = {"reader": found.reader, "k": k, "target": target, "file": file, "size": size,
                "kind": found.kind, "error": found.what, "where": found.where,
                "said": found.said, "times": found.times, "seed": seed,
                "input": found.i}  # fmt: skip
        (folder / f"{found.slug}.json").write_text(json.dumps(note, indent=1) + "\n")


def told(tally: Tally, seed: str) -> str:
    """The findings, a paragraph each, the most frequent of a reader first."""
    lines = []
    for f in sorted(tally.findings.values(), key=lambda f: (f.reader, f.kind, -f.times)):
        lines.append(f"{f.reader}: {f.kind} {f.what} at {f.where} ({f.times} times)")
        lines.append(f"    {f.said[:240]}")
        lines.append(f"    --only {f.reader} --seed {seed} --first {f.i} --count 1")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--count", type=int, default=0, help="inputs a reader (0: until stopped)")
    parser.add_argument("--inputs", type=int, default=0, help="inputs over all readers")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="some readers")
    parser.add_argument("--seed", default="0", help="of the inputs (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--findings", type=Path, default=Path("hostile-findings"))
    parser.add_argument("--replay", type=Path, help="read the inputs of a folder of findings only")
    parser.add_argument("--list", action="store_true", help="print the readers")
    asked = parser.parse_args(arguments)
    asked.findings = asked.findings.resolve()
    names = reader_names()
    if asked.list:
        print("\n".join(names))
        return 0
    if unknown := set(asked.only) - set(names):
        parser.error(f"there is no reader {min(unknown)}; expected some of {', '.join(names)}")
    if asked.minutes > 1e8 and not (asked.count or asked.inputs or asked.replay):
        parser.error("none of --minutes, --count, --inputs says when to end; give one of them")
    names = asked.only or names
    count = asked.count or 1 << 40
    kept: list[dict[str, Any]] = []
    if asked.replay:
        kept, count = kept_inputs(asked.replay), 0
        names = [name for name in names if any(e["reader"] == name for e in kept)]
    begun = time.monotonic()
    tally = fuzz(names, seed=asked.seed, count=count, minutes=asked.minutes,
                 workers=asked.workers, first=asked.first, kept=kept,
                 inputs=asked.inputs)  # fmt: skip
    print(tally.table())
    print(f"{len(tally.findings)} findings, {time.monotonic() - begun:.0f} s, seed {asked.seed}")
    for note in tally.notes:
        print(f"a whole file is not read: {note}")
    if tally.findings:
        print(told(tally, asked.seed))
        if not asked.replay:
            shutil.rmtree(asked.findings, ignore_errors=True)
            store(tally, asked.findings, asked.seed)
            print(f"the smallest input of each is in {asked.findings}/; read them again with"
                  f" --replay {asked.findings}")  # fmt: skip
    return 1 if tally.findings or tally.notes else 0


def _frames(log: str) -> Iterator[tuple[str, str, str]]:
    """File, line and function of the frames in what `faulthandler` wrote, the innermost first."""
    for line in log.splitlines():
        if line.startswith('  File "') and " in " in line:
            file, _, rest = line[8:].partition('", line ')
            number, _, function = rest.partition(" in ")
            yield file, number, function


def _signal(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit {code}"
    except ValueError:
        return f"exit {code}"


def _cpu_seconds(pid: int) -> float:
    """User and system time that a process has spent, seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
