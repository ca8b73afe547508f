"""Statistics of the outcomes: means, deviations, ranks and differences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from splat.comparison.plan import Plan
from splat.comparison.results import Outcome


@dataclass(frozen=True)
class Figure:
    """A figure of a run, and how it is shown."""

    name: str
    title: str
    """Heading of its column."""
    digits: int
    """Digits after the point."""
    best: Literal["high", "low", ""] = ""
    scale: float = 1.0
    """Factor that it is multiplied by to be shown."""

    def text(self, value: float | None) -> str:
        return "–" if value is None else f"{value * self.scale:,.{self.digits}f}"


FIGURES = (
    Figure("psnr", "PSNR dB", 2, "high"),
    Figure("moving", "moving dB", 2, "high"),
    Figure("elsewhere", "elsewhere dB", 2, "high"),
    Figure("flow", "flow error", 2, "low"),
    Figure("ssim", "SSIM", 4, "high"),
    Figure("lpips", "LPIPS", 4, "low"),
    Figure("off_path", "off path dB", 2, "high"),
    Figure("confirmed", "confirmed %", 1, "high"),
    Figure("floating", "floaters %", 2, "low"),
    Figure("sharpness", "sharpness", 2),
    Figure("gaussians", "Gaussians", 0),
    Figure("peak_gaussians", "at most", 0),
    Figure("bytes", ".ply MB", 1, "", 1e-6),
    Figure("seconds", "train s", 0, "low"),
    Figure("share", "in strategy %", 1, "", 100),
    Figure("memory", "memory MB", 0),
)
DELTA = Figure("delta", "Δ dB", 2)


@dataclass(frozen=True)
class Stat:
    """Mean and deviation over several runs."""

    mean: float
    sd: float | None
    """Sample standard deviation; None for one run."""
    count: int


@dataclass(frozen=True)
class Line:
    """One strategy on a scene, or over all scenes, within a budget."""

    scene: str
    """Empty: the mean over scenes."""
    entrant: str
    budget: int
    asked: int
    """Number of seeds that were asked for."""
    done: int
    """Number of seeds that are done."""
    failed: int
    """Number of seeds that failed."""
    stats: Mapping[str, Stat]
    delta: Stat | None
    """Difference in PSNR to the reference, seed by seed; None where there is nothing to compare."""
    rank: int | None
    """Rank by mean PSNR, from 1; equal means share a rank."""
    marks: tuple[str, ...] = ()


def stat(values: Iterable[float | None]) -> Stat | None:
    """Mean and deviation of the values that are finite."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return None
    return Stat(fmean(finite), stdev(finite) if len(finite) > 1 else None, len(finite))


def lines(plan: Plan, outcomes: Sequence[Outcome], reference: str) -> list[Line]:
    """A line for each scene, budget and strategy, in this order."""
    made = []
    for scene in plan.scenes:
        for budget in plan.budgets:
            here = [o for o in outcomes if (o.entry.scene, o.entry.budget) == (scene.name, budget)]
            base = _psnr_by_seed(here, reference)
            group = [
                _line(here, scene.name, entrant.name, budget, base)
                for entrant in plan.entrants
                if any(o.entry.entrant == entrant.name for o in here)
            ]
            made += _ranked(group)
    return made


def over_scenes(plan: Plan, outcomes: Sequence[Outcome], reference: str) -> list[Line]:
    """A line for each budget and strategy: means over the scenes, then over seeds.

    A seed counts where it is done on every scene, so that all means are over the same scenes.
    """
    made = []
    for budget in plan.budgets:
        here = [outcome for outcome in outcomes if outcome.entry.budget == budget]
        scenes = {outcome.entry.scene for outcome in here}
        base = {s: v["psnr"] for s, v in _means_by_seed(here, reference, scenes).items()}
        group = []
        for entrant in plan.entrants:
            mine = [outcome for outcome in here if outcome.entry.entrant == entrant.name]
            if not mine:
                continue
            means = _means_by_seed(here, entrant.name, scenes)
            psnr = {seed: values["psnr"] for seed, values in means.items()}
            group.append(
                Line(
                    scene="",
                    entrant=entrant.name,
                    budget=budget,
                    asked=len({outcome.entry.seed for outcome in mine}),
                    done=len(means),
                    failed=len({o.entry.seed for o in mine if o.state == "failed"}),
                    stats=_stats(means.values()),
                    delta=stat(_differences(psnr, base)),
                    rank=None,
                    marks=_marks(mine),
                )
            )
        made += _ranked(group)
    return made


def _line(
    here: Sequence[Outcome],
    scene: str,
    entrant: str,
    budget: int,
    base: Mapping[int, float | None],
) -> Line:
    mine = [outcome for outcome in here if outcome.entry.entrant == entrant]
    done = [outcome for outcome in mine if outcome.state == "done"]
    return Line(
        scene=scene,
        entrant=entrant,
        budget=budget,
        asked=len(mine),
        done=len(done),
        failed=sum(outcome.state == "failed" for outcome in mine),
        stats=_stats(outcome.figures for outcome in done),
        delta=stat(_differences(_psnr_by_seed(here, entrant), base)),
        rank=None,
        marks=_marks(mine),
    )


def _stats(figures: Iterable[Mapping[str, float | None]]) -> dict[str, Stat]:
    listed = list(figures)
    stats = {f.name: stat(values.get(f.name) for values in listed) for f in FIGURES}
    return {name: value for name, value in stats.items() if value is not None}


def _psnr_by_seed(here: Sequence[Outcome], entrant: str) -> dict[int, float | None]:
    mine = (o for o in here if o.entry.entrant == entrant and o.state == "done")
    return {outcome.entry.seed: outcome.figures["psnr"] for outcome in mine}


def _means_by_seed(
    here: Sequence[Outcome], entrant: str, scenes: set[str]
) -> dict[int, dict[str, float | None]]:
    """Means over scenes of the seeds that are done on all of them."""
    by_seed: dict[int, list[Outcome]] = {}
    for outcome in here:
        if outcome.entry.entrant == entrant and outcome.state == "done":
            by_seed.setdefault(outcome.entry.seed, []).append(outcome)
    whole = {seed: group for seed, group in by_seed.items() if len(group) == len(scenes)}
    return {
        seed: {f.name: _mean([o.figures[f.name] for o in group]) for f in FIGURES}
        for seed, group in sorted(whole.items())
    }


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if len(numbers) == len(values) else None


def _differences(
    mine: Mapping[int, float | None], base: Mapping[int, float | None]
) -> list[float | None]:
    """Differences seed by seed: runs of one seed start from the same points and see the same
    photos."""
    return [
        None if value is None or base.get(seed) is None else value - float(base[seed] or 0.0)
        for seed, value in mine.items()
    ]


def _marks(mine: Sequence[Outcome]) -> tuple[str, ...]:
    """How runs of a line departed from the budget."""
    marks = []
    for verb, shares in (
        ("ended at", [outcome.off for outcome in mine if outcome.off is not None]),
        ("had up to", [outcome.over for outcome in mine if outcome.over is not None]),
    ):
        if shares:
            low, high = f"{100 * min(shares):.1f}", f"{100 * max(shares):.1f}"
            span = high if low == high else f"{low} to {high}"
            marks.append(f"{verb} {span} % of the budget")
    return tuple(marks)


def _ranked(group: Sequence[Line]) -> list[Line]:
    means = [line.stats["psnr"].mean for line in group if "psnr" in line.stats]
    return [
        replace(line, rank=1 + sum(other > line.stats["psnr"].mean for other in means))
        if "psnr" in line.stats
        else line
        for line in group
    ]


def best(group: Sequence[Line], figure: Figure) -> float | None:
    """The best mean of a figure among lines; None where none is better than another."""
    means = [line.stats[figure.name].mean for line in group if figure.name in line.stats]
    if not figure.best or len(means) < 2:
        return None
    return max(means) if figure.best == "high" else min(means)
