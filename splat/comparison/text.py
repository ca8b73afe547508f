"""Tables of a comparison: as text for a terminal, and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from splat.comparison.asked import budget_text
from splat.comparison.results import Outcome
from splat.comparison.table import DELTA, FIGURES, Figure, Line, Stat
from splat.system.files import replacing


def figure_text(figure: Figure, value: Stat | None, *, sign: bool = False) -> str:
    """A statistic as text: mean ± deviation."""
    if value is None:
        return "–"
    plus = "+" if sign and value.mean >= 0 else ""
    text = plus + figure.text(value.mean).replace("-", "−")
    if value.sd is not None and (figure.best or sign):
        text += f" ± {figure.text(value.sd)}"
    return text


def shown_of(group: Sequence[Line]) -> list[Figure]:
    """The figures to show of some lines: PSNR, and those known of any of them. The most Gaussians
    are left out where they are those of the end."""
    grew = any(
        line.stats["peak_gaussians"].mean > line.stats["gaussians"].mean
        for line in group
        if "gaussians" in line.stats
    )
    present = [f for f in FIGURES[1:] if any(f.name in line.stats for line in group)]
    return [FIGURES[0], *(f for f in present if grew or f.name != "peak_gaussians")]


def text_table(group: Sequence[Line], reference: str) -> str:
    """Lines of one scene and budget as a table for a terminal."""
    first, *others = [figure for figure in shown_of(group) if figure.name != "bytes"]
    heads = ["", "strategy", first.title, f"Δ to {reference}", *(f.title for f in others), "seeds"]
    rows = []
    for line in sorted(group, key=lambda line: line.rank or len(group) + 1):
        delta = figure_text(DELTA, line.delta, sign=True) if line.entrant != reference else ""
        row = [
            str(line.rank or "–"),
            line.entrant,
            figure_text(first, line.stats.get(first.name)),
            delta,
        ]
        row += [figure_text(figure, line.stats.get(figure.name)) for figure in others]
        marks = f"  ({'; '.join(line.marks)})" if line.marks else ""
        rows.append([*row, seeds_text(line), marks])
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    made = []
    for row in [[*heads, ""], *rows]:
        names = [row[0].rjust(widths[0]), row[1].ljust(widths[1])]
        rest = [cell.rjust(width) for cell, width in zip(row[2:-1], widths[2:], strict=True)]
        made.append(("  ".join(names + rest) + row[-1]).rstrip())
    return "\n".join(made)


def seeds_text(line: Line) -> str:
    """The number of seeds that are done, of how many."""
    return str(line.done) if line.done == line.asked else f"{line.done} of {line.asked}"


def write_runs(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write every run as CSV."""
    names = [figure.name for figure in FIGURES]
    heads = ["scene", "strategy", "budget", "seed", "state", "start", *names, "at_once", "note"]
    rows: list[list[Any]] = []
    for outcome in outcomes:
        entry, at_once = outcome.entry, outcome.note.at_once
        rows.append(
            [entry.scene, entry.entrant, budget_text(entry.budget), entry.seed, outcome.state]
            + [outcome.figures.get(name) for name in ("start", *names)]
            + [max(at_once, default=None), outcome.note.failed]
        )
    _write(path, heads, rows)


def write_table(group: Sequence[Line], path: Path) -> None:
    """Write lines as CSV: means and deviations; a scene that is empty is the mean over scenes."""
    heads = ["scene", "budget", "strategy", "rank", "asked", "done", "failed"]
    heads += ["delta", "delta_sd"]
    heads += [f"{f.name}{end}" for f in FIGURES for end in ("", "_sd")] + ["note"]
    rows: list[list[Any]] = []
    for line in group:
        row: list[Any] = [line.scene, budget_text(line.budget), line.entrant, line.rank]
        row += [line.asked, line.done, line.failed]
        for value in (line.delta, *(line.stats.get(f.name) for f in FIGURES)):
            row += [None, None] if value is None else [value.mean, value.sd]
        rows.append([*row, "; ".join(line.marks)])
    _write(path, heads, rows)


def _write(path: Path, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heads)
        writer.writerows(rows)
