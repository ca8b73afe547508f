"""Sections of the report: verdicts, tables, failures, recipes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from splat.comparison import page, text
from splat.comparison.asked import OWN, budget_text
from splat.comparison.compare import Comparison
from splat.comparison.drawing import styles
from splat.comparison.page import clean
from splat.comparison.results import Outcome
from splat.comparison.table import DELTA, FIGURES, Figure, Line, Stat, best


def verdicts(comparison: Comparison, headline: Sequence[Line]) -> list[str]:
    """The best strategy in a sentence for each budget (and scene, where there is one only)."""
    sentences = []
    for budget in comparison.plan.budgets:
        group = [line for line in headline if line.budget == budget and line.rank]
        if len(group) < 2:
            continue
        first, second = sorted(group, key=lambda line: line.rank or 0)[:2]
        lead = first.stats["psnr"].mean - second.stats["psnr"].mean
        spread = max(line.stats["psnr"].sd or 0.0 for line in (first, second))
        doubt = ", which is less than seeds differ by" if lead < spread else ""
        mean = text.figure_text(FIGURES[0], first.stats["psnr"])
        sentences.append(
            f"With {budget_phrase(budget)}, <b>{escape(first.entrant)}</b> is first: {mean} dB,"
            f" {lead:.2f} dB before {escape(second.entrant)}{doubt}."
        )
    return sentences


def failures(outcomes: Sequence[Outcome]) -> str:
    """Failures as a table, a row for each strategy and reason."""
    failed: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.state == "failed":
            entry = outcome.entry
            run = f"{entry.scene}, {budget_text(entry.budget)}, seed {entry.seed}"
            failed.setdefault((entry.entrant, outcome.note.failed), []).append(run)
    if not failed:
        return ""
    rows = [
        ["", escape(name), clean(why), escape("; ".join(runs))]
        for (name, why), runs in failed.items()
    ]
    count = sum(map(len, failed.values()))
    made = page.table(["", "strategy", "what happened", "runs"], rows, text=(2, 3))
    return f'<div class="failed"><h3>{count_text(count, "run")} failed</h3>{made}</div>'


def table_of(comparison: Comparison, scene_lines: Sequence[Line], budget: int) -> str:
    """The table of a budget, best strategy first."""
    group = [line for line in scene_lines if line.budget == budget]
    if not group:
        return ""
    looks = styles([entrant.name for entrant in comparison.plan.entrants])
    first, *others = text.shown_of(group)
    tops = {figure.name: best(group, figure) for figure in FIGURES}
    heads = ["", "strategy", first.title, f"Δ dB to {comparison.reference}"]
    heads += [*(figure.title for figure in others), "seeds"]
    rows, notes = [], []
    for line in sorted(group, key=lambda line: line.rank or len(group) + 1):
        mark = ' <span class="mark">†</span>' if line.marks else ""
        if line.marks:
            notes.append(f"<li>† {escape(line.entrant)}: {escape('; '.join(line.marks))}</li>")
        name = f"{dot(looks[line.entrant].color)}{escape(line.entrant)}{mark}"
        delta = (
            ""
            if line.entrant == comparison.reference
            else _cell(DELTA, line.delta, None, sign=True)
        )
        row = [str(line.rank or "–"), name, _cell(first, line.stats.get(first.name), tops["psnr"])]
        row.append(delta)
        row += [_cell(f, line.stats.get(f.name), tops[f.name]) for f in others]
        rows.append([*row, escape(text.seeds_text(line))])
    listed = f'<ul class="notes">{"".join(notes)}</ul>' if notes else ""
    title = budget_phrase(budget)
    made = page.table([escape(head) for head in heads], rows)
    return f"<h3>{title[0].upper()}{title[1:]}</h3>{made}{listed}"


def entrants(comparison: Comparison) -> str:
    looks = styles([entrant.name for entrant in comparison.plan.entrants])
    rows = [
        [
            "", f"{dot(looks[e.name].color)}{escape(e.name)}", f"<code>{clean(e.recipe)}</code>",
            f"{e.opacity:g}", f"{e.scale:g}",
        ]
        for e in comparison.plan.entrants
    ]  # fmt: skip
    heads = ["", "strategy", "recipe", "opacity at the start", "scale at the start"]
    return (
        f"{page.table(heads, rows, text=(2,))}<p class='faint'>Scales are in mean distances to the"
        " nearest points. What a recipe does not say is as its strategy has it by default; the"
        " budget is laid on top.</p>"
    )


def budget_phrase(budget: int) -> str:
    return "numbers of their own" if budget == OWN else f"at most {budget:,} Gaussians"


def dot(color: str) -> str:
    return f'<span class="dot" style="background:{color}"></span>'


def count_text(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _cell(figure: Figure, value: Stat | None, top: float | None, *, sign: bool = False) -> str:
    mean, _, sd = text.figure_text(figure, value, sign=sign).partition(" ± ")
    if value is not None and top is not None and value.mean == top:
        mean = f"<b>{mean}</b>"
    return mean + (f' <span class="sd">± {sd}</span>' if sd else "")
