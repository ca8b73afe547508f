"""What every strategy owes, as checks that anyone may run on one of their own.

`splat strategies test my_pkg:Mine` prints what `check_strategy` finds. All runs are short ones of a
tiny scene on the CPU, a few seconds together.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from splat.conformance.row_order import Witness, compare_orders
from splat.conformance.trial import Broken, Fingerprints, Record, Trial, difference, trial
from splat.core.chain import Chain
from splat.core.edit import Edit
from splat.core.schedule import PUBLISHED_STEPS
from splat.core.step import Step
from splat.core.strategy import Fixed, Strategy, Wrapper
from splat.recipes.parts import with_row_limit
from splat.runs import checkpoint

STEPS = 500
"""Length of the runs; schedules fitted to it still grow, prune and reset."""
GAIN = 1.0
"""Least gain of the picture, dB."""
ORDERS = 2
"""Edits that are proposed again with the rows in another order."""
LEAST_STEPS = 30
"""Least number of steps of runs from odd rows."""
_ALIKE = 40
"""Number of identical rows."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    """Name of the check."""
    owed: str
    """The rule that it checks, a sentence."""
    passed: bool
    said: str
    """What was observed, or what went wrong and at which step."""


def check_strategy(
    strategy: Strategy,
    *,
    steps: int = STEPS,
    fitted: bool = True,
    gain: float = GAIN,
    folder: Path | None = None,
    only: tuple[str, ...] = (),
) -> list[Finding]:
    """Findings of the checks of a strategy, on short runs.

    Its step numbers are fitted to runs of so many steps; not `fitted`, they are taken as they
    are. The picture must get better by `gain` dB. `folder` has another scene than the tiny one;
    `only` names some of `CHECKS`.
    """
    findings = []
    with tempfile.TemporaryDirectory() as checkpoint_folder:
        with trial(
            strategy, steps, Path(checkpoint_folder), fitted=fitted, folder=folder
        ) as trial_run:
            trial_run.gain = gain
            for name in only or CHECKS:
                check = CHECKS[name]
                owed = (check.__doc__ or "").partition("\n")[0].rstrip(".")
                try:
                    findings.append(Finding(name, owed, True, check(trial_run)))
                except Broken as broken:
                    findings.append(Finding(name, owed, False, str(broken)))
    return findings


def constant(tried: Trial) -> str:
    """An object stays as it is, however often it is used."""
    strategy = tried.strategy
    if not dataclasses.is_dataclass(strategy):
        raise Broken(
            f"{type(strategy).__name__} is no dataclass; decorate it with"
            " @dataclass(frozen=True), so that its fields are options and a run can keep them"
        )
    before = copy.deepcopy(vars(strategy))
    tried.record  # noqa: B018
    for name, value in vars(strategy).items():
        if name not in before:
            raise Broken(f"a run leaves {name} on the object; keep it as a statistic of the cloud")
        if not _same(before[name], value):
            raise Broken(f"a run changes {name} of it; keep it as a statistic of the cloud")
    return "a whole run leaves it as it was"


def schedule(tried: Trial) -> str:
    """Its steps fit runs of any length, and `acts` names all at which rows come or go."""
    for steps in (100, 1000, tried.steps, PUBLISHED_STEPS):
        fitted = tried.given.scheduled(steps)
        for action, when in fitted.acts(steps).items():
            odd = [done for done in when if not 1 <= done <= steps]
            if odd or list(when) != sorted(when):
                raise Broken(
                    f"fitted to {steps:,} steps, acts() says {action!r} after step"
                    f" {odd[0] if odd else 'numbers out of order'}"
                )
    acts = tried.strategy.acts(tried.steps)
    named = set(itertools.chain(*acts.values()))
    if not named:
        return "acts() names no step" + ", though rows come and go" * bool(tried.record.edits)
    unnamed = sorted(set(tried.record.edits) - named)
    if unnamed:
        raise Broken(f"rows came or went after step {unnamed[0]}, which acts() does not name")
    return f"{len(tried.record.edits)} edits, all at steps that acts() names"


def whole(tried: Trial) -> str:
    """Every column, moment and statistic has one finite row each, and a row is left at least."""
    record = tried.record
    if record.unsound:
        raise Broken(record.unsound)
    return f"after {len(record.edits)} edits; {record.counts[-1]:,} rows at the end"


def limit(tried: Trial) -> str:
    """There are never more rows than its cap, nor than a budget laid on it."""
    start, cap = len(tried.first["mean"]), tried.strategy.cap
    if cap:
        _within(tried.record, cap, "its cap is")
    budget = start + start // 5
    run = tried.run(with_row_limit(tried.strategy, budget))
    record = tried.followed(run, tried.horizon, printed=False)
    _within(record, budget, "with limited() it may have")
    return f"at most {max(record.counts)} rows where {budget} were allowed"


def pure(tried: Trial) -> str:
    """It proposes: `observe` and `refine` change no column and no moment themselves."""
    _, changed, _ = _witnessed(tried)
    if changed:
        raise Broken(changed[0])
    return f"in {tried.horizon} steps"


def repeats(tried: Trial) -> str:
    """Equal runs are equal to the byte, with any number of threads."""
    step, where = _first_difference(tried.record, tried.again)
    if not step:
        return f"{tried.horizon} steps with 1 thread and with 2"
    same = tried.followed(tried.run(), tried.horizon)
    if not _first_difference(tried.record, same)[0]:
        raise Broken(
            f"a second run differs after step {step}, in {where}: it draws from a generator that"
            " everybody shares; draw from step.generator(purpose)"
        )
    raise Broken(
        f"a second run differs after step {step}, in {where}: something outlives the run, or is"
        " added up in an order that changes"
    )


def resumes(tried: Trial) -> str:
    """A run that goes on from a checkpoint is equal to the byte to one that was never cut."""
    for cut, path in tried.again.saved.items():
        resumed = tried.resumed(checkpoint.load(path))
        record = tried.followed(resumed, tried.horizon, threads=2, chance=1)
        step, where = _first_difference(tried.again, record, cut)
        if step:
            raise Broken(
                f"cut after step {cut}, the run differs after step {step}, in {where}; what it"
                " remembers must lie in statistics of the cloud"
            )
    return f"cut after step {' and '.join(map(str, tried.again.saved))}"


def order(tried: Trial) -> str:
    """The order of the rows in the cloud does not matter."""
    _, _, seen = _witnessed(tried)
    for outcome in seen:
        if isinstance(outcome, Broken):
            raise outcome
    return f"at step {' and '.join(map(str, seen))}" if seen else "nothing is edited"


def streams(tried: Trial) -> str:
    """Parts that do nothing, put around and beside it, leave a run as it is."""
    beside = Chain((_Drawing(tried.strategy), Fixed()))
    for case, record in (
        ("a part around it", _witnessed(tried)[0]),
        ("a part that draws its own numbers, and a second strategy,",
         tried.followed(tried.run(beside), tried.horizon)),
    ):  # fmt: skip
        step, where = _first_difference(tried.record, record)
        if step:
            raise Broken(
                f"with {case} that does nothing, a run differs after step {step}, in {where}"
            )
    return f"in {tried.horizon} steps"


def odd_rows(tried: Trial) -> str:
    """It copes with one row, with three, with rows all dead, all alike, or out of sight."""
    first = tried.first
    n = len(first["mean"])
    few = {"one row": slice(0, 1), "three rows": slice(0, 3)}
    clouds = {case: {k: v[rows] for k, v in first.items()} for case, rows in few.items()}
    dead = torch.full((n,), math.log(1e-4))
    clouds["rows all dead"] = {**first, "opacity_logit": dead}
    clouds["rows all alike"] = {
        k: v[:1].repeat(_ALIKE, *[1] * (v.ndim - 1)) for k, v in first.items()
    }
    clouds["rows out of sight"] = {**first, "mean": first["mean"] + 1e4}
    edits = sorted(tried.record.edits)[:2]
    until = min(tried.steps, max(LEAST_STEPS, *edits, 0) + 1)
    for case, rows in clouds.items():
        try:
            record = tried.followed(tried.run(first=rows), until, printed=False)
        except Broken as broken:
            raise Broken(f"from {case}: {broken}") from None
        if record.unsound:
            raise Broken(f"from {case}: {record.unsound}")
    return f"{until} steps from {', '.join(clouds)}"


def learns(tried: Trial) -> str:
    """The picture gets better by training."""
    before, after = tried.record.psnr
    if not after - before >= tried.gain:
        raise Broken(
            f"the photos are matched to {before:.1f} dB before and {after:.1f} dB after"
            f" {tried.steps} steps; expected {tried.gain:g} dB more"
        )
    return f"{before:.1f} dB before, {after:.1f} dB after {tried.steps} steps"


CHECKS: Mapping[str, Callable[[Trial], str]] = {
    "constant": constant,
    "schedule": schedule,
    "rows": whole,
    "limit": limit,
    "proposes": pure,
    "repeats": repeats,
    "resumes": resumes,
    "order": order,
    "streams": streams,
    "odd rows": odd_rows,
    "learns": learns,
}
"""The checks by name."""


def _witnessed(tried: Trial) -> tuple[Record, list[str], list[str | Broken]]:
    """A run with a witness around the strategy: its record, what was changed, and at which steps
    the order of rows was looked at, or what came of it."""
    seen: list[str | Broken] = []

    def look(step: Step, edit: Edit, draws: bool) -> None:
        if len(seen) < ORDERS and (edit.append or edit.assign or edit.drop):
            try:
                compare_orders(tried, step, edit, draws)
                seen.append(f"{step.number + 1}" + " (by chances)" * draws)
            except Broken as broken:
                seen.append(broken)

    if "witnessed" not in tried.notes:
        witness = Witness(tried.strategy, look=look)
        record = tried.followed(tried.run(witness), tried.horizon)
        tried.notes["witnessed"] = (record, witness.changed, seen)
    outcome: tuple[Record, list[str], list[str | Broken]] = tried.notes["witnessed"]
    return outcome


@dataclasses.dataclass(frozen=True)
class _Drawing(Wrapper):
    """Draws numbers and lets them be."""

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        torch.rand(3, generator=step.generator("conformance"))
        torch.rand(3)  # and from the generator that nobody may count on
        return edit


def _within(record: Record, most: int, allowed: str) -> None:
    for done, rows in enumerate(record.counts, 1):
        if rows > most:
            raise Broken(f"after step {done} there are {rows} rows, and {allowed} {most}")


def _first_difference(one: Record, other: Record, done: int = 0) -> tuple[int, str]:
    """The step after which runs differ, and the tensor; 0: none. `other` begins after `done`."""
    later: list[Fingerprints] = one.fingerprints[done:]
    for step, (before, after) in enumerate(zip(later, other.fingerprints, strict=False), done + 1):
        if name := difference(before, after):
            return step, name
    return 0, ""


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)
