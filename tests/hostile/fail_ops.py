"""Every file operation of every verb that writes, failed once: the old result or the new, whole.

    python -m tests.hostile.fail_ops                          # all verbs, all operations: hours
    python -m tests.hostile.fail_ops --verb export.ply --verb train --every 5
    python -m tests.hostile.fail_ops --list

A verb runs in a folder where an old result lies, and replaces it. Operation after operation (see
`shim.c`) is the one at which the process is killed, at once or within a write, or which fails with
ENOSPC or EIO (`full`: all that takes space fails from there on). Then what lies in the folder is
compared with what lay there, and with what an undisturbed run leaves; the same command is given
again, and has to succeed. Time stands still in these processes, so that equal work is equal bytes.
Prints counts; the exit code is 1 where something was found.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tests.hostile import forks
from tests.hostile.forks import Ended, Shim, Tree, forked, still, tree
from tests.hostile.verbs import Case, cases, is_draft, make_given, results

HOWS: Mapping[str, tuple[int, int]] = {
    "kill": (forks.KILL, 0),
    "half": (forks.HALF, 0),
    "ENOSPC": (forks.ERROR, errno.ENOSPC),
    "EIO": (forks.ERROR, errno.EIO),
    "full": (forks.FULL, errno.ENOSPC),
}
"""Ways to fail an operation; half: the process is killed within a write."""
_SHOWN = 12
"""Findings of a verb that are printed."""


@dataclass
class Tally:
    """What became of a verb."""

    operations: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    """Trees by what they were: old, new, between (some files old, some new)."""
    findings: list[str] = field(default_factory=list)
    second: int = 0
    """Second runs that failed."""
    tracebacks: int = 0
    drafts: int = 0
    """Trees in which a draft was left after the second run."""
    seconds: float = 0.0

    def text(self, name: str) -> str:
        """The counts in a line."""
        how = ", ".join(f"{count} {name}" for name, count in self.failed.items())
        left = ", ".join(f"{self.left[name]} {name}" for name in ("old", "new", "between"))
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        return (
            f"{name}: of {self.operations} operations ({kinds}); failed {sum(self.failed.values())}"
            f" ({how}); left {left}, {self.left['neither']} neither; {self.tracebacks} tracebacks,"
            f" {self.second} second runs failed, {self.drafts} with drafts left;"
            f" {len(self.findings)} findings, {self.seconds:.0f} s"
        )


@dataclass(frozen=True)
class Trial:
    """A case with its folders, and what an undisturbed run of it does."""

    case: Case
    base: Path
    given: Path
    shim: Shim
    old: Tree
    new: Tree
    versions: Mapping[str, set[bytes]]
    operations: tuple[tuple[str, str], ...]
    seconds: dict[bytes, tuple[str, bool]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.base / "root"

    @staticmethod
    def of(case: Case, base: Path, given: Path, shim: Shim) -> Trial:
        """Make what is there before, and run the case undisturbed, twice."""
        root, kept, pristine = base / "root", base / "versions", base / "old"
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir()
        case.make_old(root, given)
        root.rename(pristine)
        trees, counts = [], []
        for _ in range(2):
            restore(pristine, root)
            kept.mkdir(exist_ok=True)
            call = partial(recorded, partial(case.carry_out, root, given), root, kept)
            ended = forked(call, shim=shim, folder=root)
            if ended.code:
                raise RuntimeError(f"{case.name} fails by itself: {ended.said}")
            trees.append(results(tree(root)))
            counts.append(tuple(shim.operation(number) for number in range(1, ended.seen + 1)))
        if case.canonical(trees[0]) != case.canonical(trees[1]):
            odd = [path for path in trees[0] if trees[0][path] != trees[1].get(path)]
            raise RuntimeError(f"{case.name}: two undisturbed runs differ in {odd}")
        old = results(tree(pristine))
        return Trial(case, base, given, shim, old, trees[0], versions_in(kept), counts[0])

    def failed(self, number: int, how: str) -> Ended:
        """Restore what was there before, and fail an operation."""
        way, error = HOWS[how]
        restore(self.base / "old", self.root)
        call = partial(still, partial(self.case.carry_out, self.root, self.given))
        return forked(call, shim=self.shim, folder=self.root, number=number, way=way, error=error)

    def second(self, now: Tree) -> tuple[str, bool]:
        """What is wrong after the same command once more, and whether drafts are left.

        Of trees that are equal but for the numbers of processes one is tried.
        """
        key = hashlib.sha256()
        for path, data in now.items():
            key.update(f"{re.sub(r'[.][0-9]+', '', path)} {len(data)} ".encode() + data)
        if key.digest() not in self.seconds:
            self.seconds[key.digest()] = self._second()
        return self.seconds[key.digest()]

    def _second(self) -> tuple[str, bool]:
        case = self.case
        again = partial(case.carry_out, self.root, self.given, *case.again)
        ended = forked(partial(still, again))
        after = tree(self.root)
        drafts = any(is_draft(path) and not path.endswith("lock") for path in after)
        made, wanted = case.canonical(results(after)), case.canonical(self.new)
        excused = bool(case.finished) and case.finished in ended.said
        if made == wanted and (not ended.code or excused):
            return "", drafts
        words = ended.said.strip().splitlines()
        odd = sorted(p for p in {*made, *wanted} if made.get(p) != wanted.get(p))
        said = f": {words[-1]}" if words else ""
        return f"second run ends with {ended.code}, differs in {odd[:4]}{said}", drafts


def restore(pristine: Path, root: Path) -> None:
    """Make a folder what another one is."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(pristine, root, symlinks=True)


def versions_in(kept: Path) -> dict[str, set[bytes]]:
    """What `recorded` kept, by path."""
    versions: dict[str, set[bytes]] = {}
    for record in kept.iterdir():
        path, _, data = record.read_bytes().partition(b"\n")
        versions.setdefault(path.decode(), set()).add(data)
    return versions


def recorded(call: Callable[[], int], root: Path, kept: Path) -> int:
    """Carry out, and keep all that ever is moved to its place below `root`."""
    move = os.replace

    def replace(source: Path, target: Path, **more: int) -> None:
        move(source, target, **more)
        path = Path(target)
        if path.is_file() and root in path.parents:
            data = path.relative_to(root).as_posix().encode() + b"\n" + path.read_bytes()
            (kept / hashlib.sha256(data).hexdigest()).write_bytes(data)

    os.replace = replace  # type: ignore[assignment]
    return still(call)


def judged(trial: Trial, number: int, how: str, tally: Tally) -> None:
    """Fail an operation in a way, and tell what is wrong then."""
    case, (kind, path) = trial.case, trial.operations[number - 1]
    ended = trial.failed(number, how)
    if not ended.hit:
        return  # an operation fewer than in the undisturbed run: nothing was failed
    tally.failed[how] += 1
    where = f"{case.name}, operation {number} ({kind} {path}), {how}"
    now = tree(trial.root)
    wrong = case.judge(trial.old, trial.new, now, trial.versions)
    left = results(now)
    if any(map(str.startswith, wrong, ["neither"] * len(wrong))):
        tally.left["neither"] += 1
    else:
        same = "old" if left == trial.old else "new" if left == trial.new else "between"
        tally.left[same] += 1
    wrong += _manners(trial, ended, how, left, tally)
    second, drafts = trial.second(now)
    if second:
        tally.second += 1
        wrong.append(second)
    tally.drafts += drafts
    for what in wrong:
        tally.findings.append(f"{where}: {what}")
        if len(tally.findings) <= _SHOWN:
            print(f"  {tally.findings[-1]}", flush=True)


def _manners(trial: Trial, ended: Ended, how: str, left: Tree, tally: Tally) -> list[str]:
    """What is wrong with how a process ended."""
    if how in ("kill", "half"):
        return [] if ended.killed else [f"was to be killed, ended with {ended.code}"]
    verb = (trial.case.words or ("splat",))[0]
    lines = [line for line in ended.said.splitlines() if line.strip()]
    if "Traceback" in ended.said or ended.code in (70, -11, -6):
        tally.tracebacks += 1
        return [f"traceback: {lines[-1] if lines else ended.code}"]
    if ended.code == 0:
        whole = trial.case.canonical(left) == trial.case.canonical(trial.new)
        return [] if whole else ["exit code 0, though not all was written"]
    said = [line for line in lines if line.startswith(f"splat {verb}:")]
    if trial.case.again and ended.code == 1 and not said:
        return []  # what failed is told with the results
    if trial.case.words and (len(said) != 1 or ended.code not in (1, 2)):
        return [f"ends with {ended.code} and says {lines[-3:]}"]
    if trial.case.words and "[Errno" in said[0]:
        return [f"says no sentence: {said[0]}"]
    return []


def chosen(operations: Sequence[tuple[str, str]], every: int, first: int, alike: int) -> list[int]:
    """Numbers of each K-th operation; of those in a row that do the same to one file, `alike` at
    most, the first and the last among them (0: all)."""
    rows: list[list[int]] = []
    for number, operation in enumerate(operations, 1):
        if rows and operations[rows[-1][0] - 1] == operation:
            rows[-1].append(number)
        else:
            rows.append([number])
    kept = [number for row in rows for number in _some(row, alike)]
    return kept[first % every :: every]


def _some(row: list[int], most: int) -> list[int]:
    """The ends of a row, and what lies evenly between; all if `most` is 0."""
    if not most or len(row) <= most:
        return row
    return [row[round(i * (len(row) - 1) / max(1, most - 1))] for i in range(most)]


def tried(trial: Trial, numbers: Sequence[int], hows: list[str]) -> Tally:
    """Fail operations of a case in each way."""
    start, tally = time.monotonic(), Tally(len(trial.operations))
    tally.kinds.update(kind for kind, _ in trial.operations)
    for number in numbers:
        for how in hows:
            if how != "half" or trial.operations[number - 1][0] == "write":
                judged(trial, number, how, tally)
    tally.seconds = time.monotonic() - start
    return tally


def asked_cases(verbs: Sequence[str] | None) -> dict[Case, int]:
    """The cases that are named or begin so, all without names; each with the K of NAME:K, or 0."""
    found = {}
    for verb in verbs or [""]:
        start, _, each = verb.partition(":")
        for name, case in cases().items():
            if not start or f"{name}.".startswith(f"{start}."):
                found[case] = int(each or 0)
    return found


def main() -> int:
    """Fail operations as asked; the exit code."""
    asked = _asked()
    if asked.list:
        print("\n".join(cases()))
        return 0
    try:
        shim = forks.with_shim("tests.hostile.fail_ops")
    except forks.Unavailable as reason:
        print(f"skipped: {reason}")
        return 0
    hows = asked.how.split(",")
    if unknown := {*hows} - {*HOWS}:
        raise SystemExit(f"how is {sorted(unknown)}; expected {', '.join(HOWS)}")
    found, total = 0, Counter[str]()
    with forks.scratch() as folder:
        given = folder / "given"
        wanted = asked_cases(asked.verb)
        forks.import_ahead(partial(still, partial(make_given, given, [*wanted])))
        for case, each in wanted.items():
            name = case.name
            if missing := [module for module in case.needs if find_spec(module) is None]:
                print(f"{name}: skipped, {missing[0]} is not installed", flush=True)
                continue
            trial = Trial.of(case, folder / "trial", given, shim)
            every = each or asked.every * (asked.slow_every if case.slow else 1)
            numbers = chosen(trial.operations, every, asked.first, asked.alike)
            print(f"{name}: {len(numbers)} of {len(trial.operations)} operations", flush=True)
            tally = tried(trial, numbers, hows)
            print(tally.text(name), flush=True)
            found += len(tally.findings)
            total.update(tally.failed)
            total["neither"] += tally.left["neither"]
    injected = sum(total[how] for how in HOWS)
    print(f"{injected} failures, {total['neither']} neither old nor new, {found} findings")
    return 1 if found else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--verb", action="append", help="a case, or all that begin so; NAME:K: each K-th of it"
    )
    parser.add_argument("--every", type=int, default=1, help="fail each K-th operation only")
    parser.add_argument("--slow-every", type=int, default=10, help="that many times fewer of prep")
    parser.add_argument("--first", type=int, default=0, help="operation to begin at, below --every")
    parser.add_argument("--alike", type=int, default=0, help="most of a row of writes to a file")
    parser.add_argument("--how", default="kill,half,ENOSPC,EIO", help=", ".join(HOWS))
    parser.add_argument("--list", action="store_true", help="name the cases")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
