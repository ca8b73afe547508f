"""A comparison from its request to its results."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splat.comparison import crew, runs
from splat.comparison.asked import budget_text
from splat.comparison.plan import Ask, Entrant, Entry, Plan, read_plan, write_plan
from splat.comparison.request import Request, plan_of
from splat.comparison.results import Outcome, outcome, outcomes
from splat.jobs import Share, share_of
from splat.recipes import saved
from splat.recipes.page import never_done
from splat.system.lock import locked
from splat.system.text import span

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """A plan and the outcomes of its runs."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    """Outcomes of all runs that the folder knows of."""
    reference: str
    """The strategy that differences are taken to."""


def compare(
    request: Request,
    out: Path,
    *,
    workers: int | None = None,
    threads: int | None = None,
    retry: bool = False,
    reference: str | None = None,
    quiet: bool = False,
    where: str | None = None,
) -> Comparison:
    """Carry out the missing runs of a request; raises `jobs.Interrupted` on a signal.

    Runs that are done are left as they are, those that were begun go on, those that failed are
    begun anew with `retry` only. `workers` are runs at once, 0: one after the other in this
    process. `where` says who carries them out: None, this machine, or Ray (`jobs.engine_of`).
    """
    old_plan = read_plan(out)
    plan, asks = plan_of(request, out)
    with locked(out / ".lock", str(out)):
        if read_plan(out) != old_plan:
            plan, asks = plan_of(request, out)
        for entry in plan.entries():
            runs.state_of(plan, out, entry)
        _check_reference(plan, reference)
        write_plan(plan, out)
        _carry_out(plan, asks, out, workers, threads, retry, quiet, where)
    return read(out, reference)


def read(out: Path, reference: str | None = None) -> Comparison:
    """The comparison in a folder, as far as it is."""
    plan = read_plan(out)
    if plan is None:
        raise FileNotFoundError(f"{out} holds no comparison; expected a folder of `splat compare`")
    _check_reference(plan, reference)
    return Comparison(plan, tuple(outcomes(plan, out)), reference or plan.entrants[0].name)


def _check_reference(plan: Plan, reference: str | None) -> None:
    names = [entrant.name for entrant in plan.entrants]
    if reference is not None and reference not in names:
        raise ValueError(f"there is no strategy {reference!r} to refer to; there are {names}")


def _carry_out(
    plan: Plan,
    asks: Sequence[Ask],
    out: Path,
    workers: int | None,
    threads: int | None,
    retry: bool,
    quiet: bool,
    where: str | None,
) -> None:
    entries = plan.entries(asks)
    states = {entry: runs.state_of(plan, out, entry) for entry in entries}
    lost = [entry for entry in entries if states[entry] == "failed"]
    if retry:
        for entry in lost:
            runs.forget(out, entry)
    todo = [e for e in entries if states[e] != "done" and (retry or e not in lost)]
    done = sum(state == "done" for state in states.values())
    share = share_of(plan.shared.device, workers, threads, len(todo), where)
    _log.info(
        "runs      %d of %s steps, %d of them done; %s", len(entries),
        f"{plan.shared.options.steps:,}", done, _share_said(share, plan.shared.device, where),
    )  # fmt: skip
    for entrant in plan.entrants:
        _say_never(plan, entrant)
    if lost and not retry:
        _log.warning("warning: %d failed before; --retry begins them anew", len(lost))
    if not todo:
        return
    start, over = time.monotonic(), 0

    def ended(entry: Entry) -> None:
        nonlocal over
        over += 1
        left = (time.monotonic() - start) / over * (len(todo) - over)
        after = f", about {span(left)} left" if over < len(todo) else ""
        _log.info(
            "%3d of %d  %s%s", over, len(todo), outcome_text(outcome(plan, out, entry)), after
        )

    crew.carry_out_runs(plan, out, todo, share, ended, quiet, where)


def _say_never(plan: Plan, entrant: Entrant) -> None:
    """Log what a strategy would do in a longer run, and does not in these."""
    options = plan.shared.options
    strategy, steps = saved.strategy_from_description(entrant.strategy), options.steps or 0
    fitted = strategy.scheduled(steps) if options.schedule == "scaled" else strategy
    if never := never_done(strategy, fitted, steps):
        text = ", ".join(never)
        _log.info(
            "          %s: in %s steps it never comes to: %s", entrant.name, f"{steps:,}", text
        )


def outcome_text(outcome: Outcome) -> str:
    """The outcome of a run in a line."""
    entry = outcome.entry
    name = f"{entry.scene}, {entry.entrant}, {budget_text(entry.budget)}, seed {entry.seed}"
    if outcome.state != "done":
        return f"{name}: {outcome.state}" + (
            f": {outcome.note.failed}" if outcome.note.failed else ""
        )
    count, seconds = outcome.figures["gaussians"] or 0, outcome.figures["seconds"] or 0
    psnr = outcome.figures["psnr"]
    quality = "no error at all" if psnr is None else f"{psnr:.2f} dB"
    return f"{name}: {quality}, {count:,.0f} Gaussians, {span(seconds)}"


def _share_said(share: Share, device: str, where: str | None) -> str:
    many = {0: "in this process", 1: "one at a time"}.get(share.workers, f"{share.workers} at once")
    threads = "1 thread" if share.threads == 1 else f"{share.threads} threads"
    text = many if device == "cuda" else f"{many}, {threads} each"
    return text if where is None else f"{text}, by Ray" + ("" if where == "ray" else f" at {where}")
