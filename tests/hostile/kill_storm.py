"""A thousand kills: runs that are killed again and again end with the bytes of one that is not.

    python -m tests.hostile.kill_storm --kills 1000 --seed 1
    python -m tests.hostile.kill_storm --kills 20 --method scaffold --verb export

In turn a run of one of the methods is trained, and a verb replaces an old result. Each process is
killed at a random moment: after a time, or at one of its file operations, or within a write. After
a kill of a run all that lies in its folder is compared with what the undisturbed run had at that
step; it is resumed, and killed again, until it ends: with the same bytes in every file. After a
kill of a verb the old or the new is there, and the verb, given again, makes the new (`fail_ops`).
Prints counts; the exit code is 1 where something was lost or corrupt.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tests.hostile import forks
from tests.hostile.fail_ops import Trial, asked_cases, recorded, restore, versions_in
from tests.hostile.forks import Ended, Shim, Tree, forked, splat, still, tree
from tests.hostile.verbs import make_given, results

STEPS, EVERY = 30, 3
"""Steps of a run, and between its checkpoints."""
METHODS = {
    "mcmc": "mcmc --cap 300",
    "adc": "adc --cap 300",
    "mrnf": "mrnf --cap 300",
    "igs": "igs --cap 300",
    "error": "error --cap 300",
    "taming": "taming --cap 300",
    "scaffold": "scaffold --cap 150",
    "significance": "mcmc --cap 300 + significance --at 15000 --keep 0.7 --how shrink",
    "lighthouse": "adc --cap 300 + lighthouse",
    "chain": "mrnf --cap 300 + mcmc --cap 300",
}
"""What is trained: methods, and methods with parts."""
_MOST_LIVES = 60
"""Kills of one run after which it is left alone."""


@dataclass
class Storm:
    """Counts, and what was found."""

    chance: random.Random
    shim: Shim
    kills: Counter[str] = field(default_factory=Counter)
    """Processes killed, by method or verb."""
    outlived: int = 0
    """Processes that ended before they were to be killed."""
    ended: int = 0
    """Runs and verbs that came to their end, with the bytes of undisturbed ones."""
    findings: list[str] = field(default_factory=list)

    def struck(self, call: partial[int], root: Path, seconds: float, operations: int) -> Ended:
        """Carry out in a child that is killed at a random moment of what it takes."""
        if self.chance.random() < 0.5:
            after = self.chance.uniform(0, 1.1 * seconds)
            return forked(call, shim=self.shim, folder=root, kill_after=after)
        number = self.chance.randint(1, max(1, operations))
        way = self.chance.choice((forks.KILL, forks.HALF))
        return forked(call, shim=self.shim, folder=root, number=number, way=way)


@dataclass(frozen=True)
class Truth:
    """A run that nobody disturbed."""

    name: str
    words: tuple[str, ...]
    root: Path
    made: Tree
    """Its files at the end."""
    versions: Mapping[str, set[bytes]]
    """All that its files ever held, checkpoints too that it deleted."""
    seconds: float
    operations: int

    @staticmethod
    def of(name: str, base: Path, given: Path, shim: Shim) -> Truth:
        root, kept = base / "run", base.with_name(f"{base.name}-kept")
        words = (
            "train", str(given / "scene"), "--out", str(root), "--overwrite", "--steps", str(STEPS),
            "--threads", "1", "--quiet", "--checkpoint-every", str(EVERY), "--keep", "2",
            *METHODS[name].split(),
        )  # fmt: skip
        base.mkdir()
        kept.mkdir()
        start = time.monotonic()
        call = partial(recorded, partial(splat, words), root, kept)
        ended = forked(call, shim=shim, folder=base)
        seconds = time.monotonic() - start
        if ended.code:
            raise RuntimeError(f"{name} fails by itself: {ended.said}")
        versions = versions_in(kept)
        return Truth(name, words, root, tree(root), versions, seconds, ended.seen)


def weather_run(truth: Truth, storm: Storm, left: int) -> None:
    """Kill a run at most `left` times until it ends; note what is wrong."""
    shutil.rmtree(truth.root.parent, ignore_errors=True)
    truth.root.parent.mkdir(parents=True)
    newest = 0
    for life in range(min(left, _MOST_LIVES) + 1):
        resumes = newest > 0
        words = ["resume", str(truth.root), "--quiet"] if resumes else truth.words
        call = partial(still, partial(splat, words))
        if life == min(left, _MOST_LIVES):
            ended = forked(call)
        else:
            share = 1 - newest / STEPS * 0.7
            ended = storm.struck(
                call, truth.root.parent, share * truth.seconds, int(share * truth.operations) + 1
            )
        where = f"{truth.name}, life {life + 1} ({words[0]})"
        if ended.killed:
            storm.kills[truth.name] += 1
        elif ended.code and "is finished at step" not in ended.said:
            said = ended.said.strip().splitlines()
            storm.findings.append(f"{where}: ends with {ended.code}: {said[-1:] or 'silence'}")
            return
        now = tree(truth.root)
        wrong, found = _wrong(truth, now, newest)
        storm.findings += [f"{where}: {what}" for what in wrong]
        newest = found
        if not ended.killed:
            storm.outlived += life < left
            made = results(now)
            odd = [path for path in {*made, *truth.made} if made.get(path) != truth.made.get(path)]
            storm.findings += [f"{where}: differs in {sorted(odd)[:5]}"] if odd else []
            storm.ended += not odd
            return


def _wrong(truth: Truth, now: Tree, newest: int) -> tuple[list[str], int]:
    """What is lost or corrupt in the folder of a run that was killed, and its last whole step."""
    wrong, steps = [], [0]
    for path, data in results(now).items():
        if path.startswith("checkpoints/"):
            if data in truth.versions.get(path, ()):
                steps.append(int(path[-11:-3]))
            else:
                wrong.append(f"{path} is corrupt")
    if max(steps) < newest:
        wrong.append(f"the checkpoint of step {newest} is lost, the newest is {max(steps)}")
    logged = _last_step(now.get("log.jsonl", b""))
    if logged - max(steps) > EVERY:
        wrong.append(f"step {logged} was logged, the newest checkpoint is of {max(steps)}")
    return wrong, max(steps)


def _last_step(log: bytes) -> int:
    """The last step in a log, whose last line may be cut off."""
    step = 0
    for line in log.decode().splitlines():
        try:
            step = max(step, json.loads(line)["step"])
        except ValueError:
            break
    return step


def weather_verb(trial: Trial, seconds: float, storm: Storm) -> None:
    """Kill a verb that replaces something once; note what is wrong."""
    restore(trial.base / "old", trial.root)
    call = partial(still, partial(trial.case.carry_out, trial.root, trial.given))
    ended = storm.struck(call, trial.root, seconds, len(trial.operations))
    if ended.killed:
        storm.kills[trial.case.name] += 1
    storm.outlived += not ended.killed
    now = tree(trial.root)
    wrong = trial.case.judge(trial.old, trial.new, now, trial.versions)
    second, _ = trial.second(now)
    wrong += [second] if second else []
    storm.ended += not second
    storm.findings += [f"{trial.case.name}: {what}" for what in wrong]


def main() -> int:
    """Kill as asked; the exit code."""
    asked = _asked()
    try:
        shim = forks.with_shim("tests.hostile.kill_storm")
    except forks.Unavailable as reason:
        print(f"skipped: {reason}")
        return 0
    storm = Storm(random.Random(asked.seed), shim)
    with forks.scratch() as folder:
        given = folder / "given"
        names = [name for name in METHODS if not asked.method or name in asked.method]
        verbs = [
            case
            for case in asked_cases(asked.verb)
            if all(map(find_spec, case.needs)) and (not case.slow or asked.verb)
        ]
        forks.import_ahead(partial(still, partial(make_given, given, verbs)))
        truths: dict[str, Truth] = {}
        trials: dict[str, tuple[Trial, float]] = {}
        turn, told = 0, 0
        while sum(storm.kills.values()) < asked.kills and len(storm.findings) < 50:
            name, case = names[turn % len(names)], verbs[turn % len(verbs)]
            if name not in truths:
                truths[name] = Truth.of(name, folder / name, given, shim)
            left = asked.kills - sum(storm.kills.values())
            weather_run(truths[name], storm, min(left, asked.lives))
            if case.name not in trials:
                trial = Trial.of(case, folder / f"verb-{case.name}", given, shim)
                start = time.monotonic()
                trial.failed(0, "kill")
                trials[case.name] = (trial, time.monotonic() - start)
            for _ in range(min(asked.lives, asked.kills - sum(storm.kills.values()))):
                weather_verb(*trials[case.name], storm)
            turn += 1
            for finding in storm.findings[told:]:
                print(f"  {finding}", flush=True)
            told = len(storm.findings)
            print(
                f"{sum(storm.kills.values())} kills, {storm.outlived} outlived, {storm.ended} ended"
                f" as undisturbed ones do, {told} findings",
                flush=True,
            )
    each = ", ".join(f"{name} {count}" for name, count in storm.kills.items())
    print(f"kills: {each}")
    return 1 if storm.findings else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lives", type=int, default=10, help="kills before the next run or verb")
    parser.add_argument("--method", action="append", choices=METHODS, help="all")
    parser.add_argument("--verb", action="append", help="a case of fail_ops; all that are quick")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
