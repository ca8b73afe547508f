"""The checks of what a strategy owes: each fails, with its sentence, for one that does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from parts import Cloner
from torch import Tensor

from splat.conformance.checks import CHECKS, check_strategy
from splat.core.edit import Append, Assign, Drop, Edit, Overwrite
from splat.core.model import Model
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.strategies.adc import Adc


def due(step: Step) -> bool:
    return (step.number + 1) % 5 == 0


def cloned(step: Step, parents: Tensor) -> Edit:
    return Edit(append=(Append(step.model.cloud.rows(parents), parents, "clone"),))


def brightest(step: Step, count: int) -> Tensor:
    return step.model.cloud["sh"].detach()[:, 0].sum(1).argsort(stable=True)[-count:]


@dataclass(frozen=True)
class Sound(Strategy):
    """Clones the brightest rows now and then, as far as it may."""

    cap: int = 300
    count: int = 20

    def refine(self, step: Step) -> Edit | None:
        room = self.cap - len(step.model.cloud) if self.cap else self.count
        wanted = min(self.count, room, len(step.model.cloud))
        return cloned(step, brightest(step, wanted)) if due(step) and wanted > 0 else None


@dataclass(frozen=True)
class Remembers(Sound):
    def refine(self, step: Step) -> Edit | None:
        seen = vars(self).get("seen", 0) + 1
        object.__setattr__(self, "seen", seen)
        return cloned(step, brightest(step, 1)) if seen % 5 == 0 else None


@dataclass(frozen=True)
class Notes(Sound):
    log: list[int] = field(default_factory=list)

    def observe(self, step: Step) -> None:
        self.log.append(step.number)


class Plain(Strategy):
    def refine(self, step: Step) -> Edit | None:
        return None


COUNTER = {"seen": 0}


@dataclass(frozen=True)
class Outlives(Sound):
    def refine(self, step: Step) -> Edit | None:
        COUNTER["seen"] += 1
        return cloned(step, brightest(step, 1)) if COUNTER["seen"] % 7 == 0 else None


@dataclass(frozen=True)
class Forgets(Sound):
    """Counts in a closure what it should keep in the cloud; begins anew with each run."""

    seen: Any = field(default_factory=dict, compare=False, hash=False)

    def __deepcopy__(self, memo: Any) -> Forgets:
        return self

    def begin(self, model: Model) -> None:
        self.seen.clear()

    def refine(self, step: Step) -> Edit | None:
        self.seen["n"] = self.seen.get("n", 0) + 1
        return cloned(step, brightest(step, 1)) if self.seen["n"] % 7 == 0 else None


@dataclass(frozen=True)
class PastItsCap(Sound):
    cap: int = 260

    def refine(self, step: Step) -> Edit | None:
        return cloned(step, brightest(step, self.count)) if due(step) else None


@dataclass(frozen=True)
class Stubborn(PastItsCap):
    """Heeds no cap lower than the one it was made with."""

    cap: int = 400

    def limited(self, cap: int, by: int = 0) -> Strategy:
        return replace(self, cap=min(cap, self.cap), count=60)


@dataclass(frozen=True)
class DrawsFromAll(Sound):
    def refine(self, step: Step) -> Edit | None:
        rows = torch.randperm(len(step.model.cloud))[:3]
        return cloned(step, rows) if due(step) else None


@dataclass(frozen=True)
class SeedsAll(DrawsFromAll):
    def begin(self, model: Model) -> None:
        torch.manual_seed(5)


@dataclass(frozen=True)
class SeedsItself(Sound):
    def refine(self, step: Step) -> Edit | None:
        draw = torch.Generator().manual_seed(step.number)
        rows = torch.randperm(len(step.model.cloud), generator=draw)[:3]
        return cloned(step, rows) if due(step) else None


@dataclass(frozen=True)
class FavoursTheFirst(Sound):
    """Draws, as one must, but among the first rows."""

    def refine(self, step: Step) -> Edit | None:
        rows = torch.randperm(20, generator=step.generator("x"))[:10]
        return cloned(step, rows) if due(step) and len(step.model.cloud) > 20 else None


@dataclass(frozen=True)
class Ties(Sound):
    """Drops the dimmest rows, most of which are equally dim."""

    def refine(self, step: Step) -> Edit | None:
        colour = step.model.cloud["sh"].detach()[:, 0].sum(1)
        dim = colour.clamp_min(colour.quantile(0.1)).argsort(stable=True)
        rows = dim[: int(0.09 * len(dim))]
        return Edit(drop=(Drop(rows, "dim"),)) if step.number == 6 else None


@dataclass(frozen=True)
class DrawsWell(Sound):
    def refine(self, step: Step) -> Edit | None:
        room = min(self.cap - len(step.model.cloud), 10)
        rows = torch.randperm(len(step.model.cloud), generator=step.generator("x"))[:room]
        return cloned(step, rows) if due(step) else None


@dataclass(frozen=True)
class Meddles(Sound):
    def refine(self, step: Step) -> Edit | None:
        with torch.no_grad():
            step.model.cloud["mean"][0] += 1
        return None


@dataclass(frozen=True)
class MeddlesEarly(Sound):
    def observe(self, step: Step) -> None:
        step.model.cloud.moments("quat")[1][3] = 1


@dataclass(frozen=True)
class KillsAll(Sound):
    def refine(self, step: Step) -> Edit | None:
        rows = torch.arange(len(step.model.cloud))
        return Edit(drop=(Drop(rows, "all"),)) if step.number == 3 else None


@dataclass(frozen=True)
class NotANumber(Sound):
    def refine(self, step: Step) -> Edit | None:
        rows = {"log_scale": torch.full((2, 3), torch.nan)}
        return Edit(assign=(Assign(torch.tensor([0, 1]), rows, "x"),)) if step.number == 6 else None


@dataclass(frozen=True)
class Infinite(Sound):
    def begin(self, model: Model) -> None:
        model.cloud.track("ratio")

    def observe(self, step: Step) -> None:
        step.model.cloud.statistic("ratio").fill_(1).div_(0)


@dataclass(frozen=True)
class NeedsThree(Sound):
    def refine(self, step: Step) -> Edit | None:
        logit = step.model.cloud["opacity_logit"].detach()
        return cloned(step, logit.topk(3).indices) if due(step) else None


@dataclass(frozen=True)
class KillsTheFaint(Sound):
    def refine(self, step: Step) -> Edit | None:
        faint = step.model.cloud["opacity_logit"].detach().sigmoid() < 0.01
        return Edit(drop=(Drop(faint.nonzero().squeeze(1), "faint"),))


@dataclass(frozen=True)
class Twice(Sound):
    def refine(self, step: Step) -> Edit | None:
        rows = torch.tensor([2, 2])
        values = step.model.cloud.rows(rows)
        return Edit(assign=(Assign(rows, values, "x"),)) if step.number == 6 else None


@dataclass(frozen=True)
class Unannounced(Sound):
    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        return {"clone": [5, 15, 20]}


@dataclass(frozen=True)
class TooLate(Sound):
    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        return {"prune": [15_000]}


@dataclass(frozen=True)
class Erases(Sound):
    def refine(self, step: Step) -> Edit | None:
        faint = torch.full_like(step.model.cloud["opacity_logit"], -4.0)
        return Edit(overwrite=(Overwrite("opacity_logit", faint, "reset"),))


BROKEN: list[tuple[Strategy, str, str]] = [
    (Remembers(), "constant", "a run leaves seen on the object; keep it as a statistic"),
    (Remembers(), "resumes", "what it remembers must lie in statistics of the cloud"),
    (Notes(), "constant", "a run changes log of it; keep it as a statistic"),
    (Plain(), "constant", "Plain is no dataclass; decorate it with @dataclass(frozen=True)"),
    (Outlives(), "repeats", "something outlives the run"),
    (Forgets(), "resumes", "what it remembers must lie in statistics of the cloud"),
    (PastItsCap(), "limit", "after step 10 there are 280 rows, and its cap is 260"),
    (Stubborn(), "limit", "rows, and with limited() it may have 288"),
    (DrawsFromAll(), "repeats", "it draws from a generator that everybody shares; draw from step."),
    (SeedsAll(), "streams", "that does nothing, a run differs after step 10, in column mean"),
    (SeedsAll(), "resumes", "cut after step 7, the run differs after step 10, in column mean"),
    (SeedsItself(), "order", "at step 5 the same rows in another order fare otherwise: other rows"),
    (Cloner(3), "order", "at step 1 the same rows in another order fare otherwise: other rows"),
    (FavoursTheFirst(), "order", "in another order fare otherwise: other rows are copied"),
    (Meddles(), "proposes", "at step 1 refine changes column mean itself; propose it in the Edit"),
    (MeddlesEarly(), "proposes", "at step 1 observe changes column quat (second moment) itself"),
    (KillsAll(), "rows", "after step 4 no row is left: a cloud of none can never grow again"),
    (NotANumber(), "rows", "after step 7 column log_scale has values that are not finite"),
    (Infinite(), "rows", "after step 5 statistic ratio has values that are not finite"),
    (NeedsThree(), "odd rows", "from one row: step 5 raises RuntimeError: selected index k out"),
    (KillsTheFaint(), "odd rows", "from rows all dead: after step 1 no row is left"),
    (Twice(), "rows", "what Twice proposes cannot be done: an assign names a row twice; give each"),
    (Unannounced(), "schedule", "rows came or went after step 10, which acts() does not name"),
    (TooLate(), "schedule", "fitted to 100 steps, acts() says 'prune' after step 15000"),
    (Erases(), "learns", "expected 1 dB more"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("strategy", "check", "words"), BROKEN, ids=[f"{type(s).__name__}-{c}" for s, c, _ in BROKEN]
)
def test_what_a_strategy_does_not_do_is_found_out(
    strategy: Strategy, check: str, words: str, trial_folder: Path
) -> None:
    COUNTER["seen"] = 0
    (found,) = check_strategy(strategy, steps=24, fitted=False, folder=trial_folder, only=(check,))
    assert not found.passed and words in found.said, found.said


def test_where_an_error_was_raised_is_said(trial_folder: Path) -> None:
    (found,) = check_strategy(
        NeedsThree(), steps=24, fitted=False, folder=trial_folder, only=("odd rows",)
    )
    assert "(test_conformance.py:" in found.said


@pytest.mark.parametrize("strategy", [Sound(), DrawsWell(), Ties(), Sound(cap=0)])
def test_sound_strategies_pass(strategy: Strategy, trial_folder: Path) -> None:
    found = check_strategy(strategy, steps=60, fitted=False, folder=trial_folder)
    assert [f.check for f in found] == list(CHECKS)
    assert all(f.passed for f in found), [f for f in found if not f.passed]
    assert all(f.owed and f.said for f in found)


def test_steps_are_fitted_and_a_cap_is_lowered(trial_folder: Path) -> None:
    found = {
        f.check: f
        for f in check_strategy(Adc(cap=50_000), folder=trial_folder, only=("schedule", "limit"))
    }
    assert found["schedule"].said == "4 edits, all at steps that acts() names"
    assert found["limit"].passed


def test_the_shared_generators_are_as_before(trial_folder: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_strategy(DrawsFromAll(), steps=6, fitted=False, folder=trial_folder, only=("rows",))
    assert torch.equal(before, torch.get_rng_state())
