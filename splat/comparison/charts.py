"""Charts of a comparison: quality against size and time, curves over a run, births and deaths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from splat.comparison.asked import OWN, budget_text, slug
from splat.comparison.drawing import (
    COLORS,
    Chart,
    Label,
    Style,
    chart_of,
    draw_labels,
    hide_left_axis,
    panel,
    short_name,
    span_axis,
    styles,
)
from splat.comparison.plan import Plan
from splat.comparison.results import Outcome
from splat.comparison.table import stat
from splat.evaluation.pictures import BINS, FAINT, INK, binned, tick_text

Groups = Mapping[str, Sequence[Outcome]]
"""Runs that are done, by strategy, in the order of the plan."""

_SIZES = (
    ("gaussians", "Gaussians at the end", 1.0),
    ("bytes", "MB of the .ply", 1e-6),
    ("seconds", "seconds of training", 1.0),
)


def done_runs(
    plan: Plan, outcomes: Sequence[Outcome], scene: str, budget: int | None = None
) -> Groups:
    """The runs on a scene that are done, within a budget or within any."""
    done = [
        o
        for o in outcomes
        if o.state == "done"
        and o.entry.scene == scene
        and budget in (None, o.entry.budget)
        and o.figures["psnr"] is not None
    ]
    named = {e.name: [o for o in done if o.entry.entrant == e.name] for e in plan.entrants}
    return {name: group for name, group in named.items() if group}


def tradeoff_charts(plan: Plan, groups: Groups, scene: str) -> list[Chart]:
    """PSNR against Gaussians, bytes and seconds; the budgets of a strategy are connected."""
    looks, made = styles([entrant.name for entrant in plan.entrants]), []
    for key, title, scale in _SIZES:
        figure, axes = panel(f"PSNR (dB) against {title}", title)
        labels, shown = [], []
        for name, group in groups.items():
            style, means = looks[name], []
            for budget in sorted({outcome.entry.budget for outcome in group}):
                here = [outcome for outcome in group if outcome.entry.budget == budget]
                x, y = _values(here, key, scale), _values(here, "psnr")
                shown += x
                axes.plot(x, y, ".", color=style.color, alpha=0.35, markersize=5)
                middle, height = stat(x), stat(y)
                assert middle is not None and height is not None
                axes.errorbar(
                    middle.mean, height.mean, height.sd or 0, middle.sd or 0, style.marker,
                    color=style.color, markersize=6, elinewidth=1, capsize=0,
                )  # fmt: skip
                means.append((middle.mean, height.mean, budget))
            # A run without a budget is no point of the line that budgets make.
            line = sorted(mean[:2] for mean in means if mean[2] != OWN)
            axes.plot(*zip(*line, strict=True), color=style.color, lw=1.4, ls=style.line) if (
                line
            ) else None
            x_end, y_end = max(mean[:2] for mean in means)
            labels.append(Label(x_end, y_end, name, style.color))
        if shown:
            span_axis(axes, shown)
            draw_labels(figure, axes, labels)
            title_text = f"{scene}: PSNR against {title}"
            made.append(chart_of(figure, f"{slug(scene)}-{key}", title_text))
    return made


def seed_chart(plan: Plan, groups: Groups, scene: str, budget: int) -> Chart:
    """PSNR of every seed as a dot, with a bar at the mean; a row a strategy."""
    looks = styles([entrant.name for entrant in plan.entrants])
    title = "PSNR (dB)" + ("" if budget == OWN else f", {budget_text(budget)} Gaussians")
    figure, axes = panel(title, "each dot a seed, the bar is their mean")
    figure.set_figheight(1.3 + 0.32 * len(groups))
    order = sorted(groups, key=lambda name: fmean(_values(groups[name], "psnr")))
    every: list[float] = []
    for row, name in enumerate(order):
        values, style = _values(groups[name], "psnr"), looks[name]
        every += values
        axes.plot(values, [row] * len(values), style.marker, color=style.color, alpha=0.55, ms=6)
        mean = fmean(values)
        axes.vlines(mean, row - 0.3, row + 0.3, style.color, lw=2.2)
        axes.annotate(
            f"{mean:.2f}", (1.02, row), xycoords=axes.get_yaxis_transform(), va="center",
            fontsize=9, color=INK, annotation_clip=False,
        )  # fmt: skip
    span_axis(axes, every)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_yticks(range(len(order)), [short_name(name) for name in order])
    axes.set_ylim(-0.6, len(order) - 0.4)
    hide_left_axis(axes)
    for tick, name in zip(axes.get_yticklabels(), order, strict=True):
        tick.set_color(looks[name].color)
    name = f"{slug(scene)}-{budget_text(budget)}-seeds"
    return chart_of(figure, name, f"{scene}: PSNR of every seed")


def curve_charts(plan: Plan, groups: Groups, scene: str, budget: int) -> list[Chart]:
    """PSNR over seconds and over steps, and Gaussians over steps, means over seeds."""
    steps = plan.shared.options.steps or 1
    place = f"{slug(scene)}-{budget_text(budget)}"
    seconds = max((o.looks[-1][1] for group in groups.values() for o in group), default=1.0)

    def looked(outcome: Outcome, at: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        table = np.array(outcome.looks, np.float64)
        return table[:, at], table[:, 2]

    def counted(outcome: Outcome) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        table = np.array(outcome.counts, np.float64)
        return table[:, 0], table[:, 1]

    charts = []
    for key, title, x, last, series in (
        ("psnr-seconds", "PSNR (dB) over time", "seconds of training", seconds,
         lambda outcome: looked(outcome, 1)),
        ("psnr-steps", "PSNR (dB) over steps", "step", steps, lambda outcome: looked(outcome, 0)),
        ("count", "Gaussians over steps", "step", steps, counted),
    ):  # fmt: skip
        figure, axes = panel(title, x, last)
        labels = _curves(plan, axes, groups, series)
        if key == "count":
            if budget != OWN:
                axes.axhline(budget, color=FAINT, lw=1, ls=":")
            axes.set_ylim(bottom=0)
        draw_labels(figure, axes, labels)
        charts.append(chart_of(figure, f"{place}-{key}", f"{scene}: {title}"))
    return charts


def _curves(
    plan: Plan,
    axes: Axes,
    groups: Groups,
    series: Callable[[Outcome], tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> list[Label]:
    """A line a strategy, the mean over seeds, and a band from the least to the greatest."""
    looks, labels = styles([entrant.name for entrant in plan.entrants]), []
    for name, group in groups.items():
        style: Style = looks[name]
        curves = [series(outcome) for outcome in group]
        xs, ys = _aligned(curves)
        axes.fill_between(xs, ys.min(0), ys.max(0), color=style.color, alpha=0.15, lw=0)
        axes.plot(xs, ys.mean(0), color=style.color, lw=1.7, ls=style.line)
        labels.append(Label(float(xs[-1]), float(ys.mean(0)[-1]), name, style.color))
    return labels


def _aligned(
    curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Series of several seeds: mean places where they have as many, else values of step
    functions at the places of all."""
    if len({len(x) for x, _ in curves}) == 1:
        return np.mean([x for x, _ in curves], 0), np.stack([y for _, y in curves])
    places = np.unique(np.concatenate([x for x, _ in curves]))
    rows = [y[np.searchsorted(x, places, "right").clip(1) - 1] for x, y in curves]
    return places, np.stack(rows)


def edit_charts(plan: Plan, groups: Groups, scene: str, budget: int) -> list[Chart]:
    """Births upward and deaths downward, by reason, over steps: a panel a strategy, all to one
    scale."""
    steps, made = plan.shared.options.steps or 1, []
    totals = {name: _edit_means(group, steps) for name, group in groups.items()}
    reasons = sorted({key for rows_by_reason in totals.values() for key in rows_by_reason})
    colors = {key: COLORS[i % len(COLORS)] for i, key in enumerate(reasons)}
    highest = max(
        (_height(rows_by_reason, up=True) for rows_by_reason in totals.values()), default=0.0
    )
    lowest = max(
        (_height(rows_by_reason, up=False) for rows_by_reason in totals.values()), default=0.0
    )
    for name, rows_by_reason in totals.items():
        figure, axes = panel(short_name(name), "step", steps)
        _bars(axes, rows_by_reason, colors, steps)
        axes.set_ylim(-1.05 * lowest - 1, 1.05 * highest + 1)
        axes.axhline(0, color=FAINT, lw=0.8)
        axes.yaxis.set_major_formatter(FuncFormatter(tick_text))
        if rows_by_reason:
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False,
                fontsize=8.5, labelcolor=INK, handlelength=1.2, columnspacing=1.2,
            )  # fmt: skip
        else:
            axes.text(0.5, 0.6, "no edits", transform=axes.transAxes, ha="center", color=FAINT)
        file = f"{slug(scene)}-{budget_text(budget)}-edits-{slug(name)}"
        made.append(chart_of(figure, file, f"{scene}: births and deaths of {name}"))
    return made


def _edit_means(group: Sequence[Outcome], steps: int) -> dict[str, NDArray[np.float64]]:
    """Rows in equal spans of steps, by verb and reason, means over seeds."""
    totals: dict[str, NDArray[np.float64]] = {}
    for outcome in group:
        for key, rows in binned(outcome.edits, steps)[1].items():
            totals[key] = totals.get(key, np.zeros(BINS)) + rows / len(group)
    return totals


def _height(rows_by_reason: Mapping[str, NDArray[np.float64]], *, up: bool) -> float:
    """Height of the tallest stack of bars."""
    piles = [
        rows
        for key, rows in rows_by_reason.items()
        if not key.startswith("overwrite:") and key.startswith("drop:") != up
    ]
    return float(np.sum(piles, 0).max()) if piles else 0.0


def _bars(
    axes: Axes,
    rows_by_reason: Mapping[str, NDArray[np.float64]],
    colors: Mapping[str, str],
    steps: int,
) -> None:
    width = steps / BINS
    starts = np.arange(BINS) * width
    piles = {True: np.zeros(BINS), False: np.zeros(BINS)}
    for key, rows in sorted(rows_by_reason.items()):
        verb, _, reason = key.partition(":")
        if verb == "overwrite":
            at = starts[rows > 0] + width / 2
            span = axes.get_xaxis_transform()
            axes.vlines(at, 0, 1, colors[key], "dotted", transform=span, label=reason)
            continue
        sign, mark = (-1, "−") if verb == "drop" else (1, "+" if verb == "append" else "→")
        pile, some = piles[sign > 0], rows > 0
        axes.bar(
            starts[some], sign * rows[some], width, pile[some], align="edge", color=colors[key],
            label=f"{mark} {reason}",
        )  # fmt: skip
        pile += sign * rows


def _values(group: Sequence[Outcome], key: str, scale: float = 1.0) -> list[float]:
    return [scale * (outcome.figures[key] or 0.0) for outcome in group]
