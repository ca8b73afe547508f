"""The report of a comparison: a page of HTML that stands alone, its charts, and tables as CSV."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from splat.comparison import charts, page, text
from splat.comparison.compare import Comparison
from splat.comparison.crops import Crop, crop_of, montage
from splat.comparison.drawing import Chart, styles
from splat.comparison.page import clean
from splat.comparison.protocol import protocol
from splat.comparison.sections import (
    budget_phrase,
    count_text,
    dot,
    entrants,
    failures,
    table_of,
    verdicts,
)
from splat.comparison.table import Line, lines, over_scenes
from splat.evaluation.pictures import BINS, png
from splat.system.files import replacing, write_json

REPORT, FIGURES_FOLDER = "report.html", "figures"

_log = logging.getLogger(__name__)


def write_report(comparison: Comparison, out: Path) -> None:
    """Write the report of a comparison, as far as it is, into its folder."""
    means, scene_lines = _lines(comparison)
    text.write_runs(comparison.outcomes, out / "runs.csv")
    text.write_table([*means, *scene_lines], out / "table.csv")
    write_json(out / "results.json", plain_results(comparison))
    figures: list[Chart] = []
    body = [_head(comparison, means or scene_lines), failures(comparison.outcomes)]
    if means:
        body.append('<h2 id="mean">Mean over scenes</h2>')
        body += [table_of(comparison, means, budget) for budget in comparison.plan.budgets]
    for scene in comparison.plan.scenes:
        body += _scene(comparison, scene_lines, scene.name, out, figures)
    body += [
        '<h2 id="protocol">How it was measured</h2>',
        protocol(comparison),
        entrants(comparison),
    ]
    _keep(figures, out / FIGURES_FOLDER)
    with replacing(out / REPORT) as draft:
        draft.write_text(page.page(_title(comparison), body), encoding="utf-8")


def _lines(comparison: Comparison) -> tuple[list[Line], list[Line]]:
    """Those of the means over scenes, where there are several, and those of each scene."""
    given = comparison.plan, comparison.outcomes, comparison.reference
    return over_scenes(*given) if _many(comparison) else [], lines(*given)


def plain_results(comparison: Comparison) -> dict[str, Any]:
    """All figures of a comparison, as JSON can hold them."""
    means, scene_lines = _lines(comparison)
    return {
        "reference": comparison.reference,
        "steps": comparison.plan.shared.options.steps,
        "runs": [
            {**asdict(o.entry), "state": o.state, "failed": o.note.failed, **o.figures}
            for o in comparison.outcomes
        ],
        "table": [asdict(line) for line in [*means, *scene_lines]],
    }


def summary_text(comparison: Comparison, out: Path) -> str:
    """The tables as text, and the path of the report."""
    means, scene_lines = _lines(comparison)
    groups: dict[str, list[Line]] = {}
    for line in [*means, *scene_lines]:
        groups.setdefault(_where(line), []).append(line)
    blocks = [f"{title}\n{text.text_table(g, comparison.reference)}" for title, g in groups.items()]
    failed = [
        f"{o.entry.key} failed: {o.note.failed}" for o in comparison.outcomes if o.note.failed
    ]
    blocks += ["\n".join(failed)] if failed else []
    missing = sum(outcome.state in ("begun", "waiting") for outcome in comparison.outcomes)
    if missing:
        blocks.append(f"{missing} of {len(comparison.outcomes)} runs are still to be done")
    return "\n\n".join([*blocks, f"report: {out / REPORT}"])


def _many(comparison: Comparison) -> bool:
    return len(comparison.plan.scenes) > 1


def _where(line: Line) -> str:
    return f"{line.scene or 'mean over scenes'}, {budget_phrase(line.budget)}"


def _title(comparison: Comparison) -> str:
    return f"Strategies compared: {', '.join(entrant.name for entrant in comparison.plan.entrants)}"


def _head(comparison: Comparison, headline: Sequence[Line]) -> str:
    plan, outcomes = comparison.plan, comparison.outcomes
    done = sum(outcome.state == "done" for outcome in outcomes)
    seeds = len(plan.seeds)
    sentence = (
        f"{len(plan.entrants)} strategies on {count_text(len(plan.scenes), 'scene')},"
        f" {count_text(seeds, 'seed')}, {plan.shared.options.steps:,} steps each."
    )
    if done < len(outcomes):
        sentence += f" {done} of {len(outcomes)} runs are done."
    links = [("mean", "Mean over scenes")] if _many(comparison) else []
    links += [(_anchor(scene.name), scene.name) for scene in plan.scenes]
    links.append(("protocol", "How it was measured"))
    shown = " ".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in links)
    leads = "".join(f'<p class="lead">{verdict}</p>' for verdict in verdicts(comparison, headline))
    return f"<h1>Strategies compared</h1>\n<p>{escape(sentence)}</p>\n{leads}\n<nav>{shown}</nav>"


def _scene(
    comparison: Comparison, scene_lines: Sequence[Line], scene: str, out: Path, figures: list[Chart]
) -> list[str]:
    """The section of a scene."""
    plan = comparison.plan
    body = [f'<h2 id="{_anchor(scene)}">{escape(scene)}</h2>']
    mine = [line for line in scene_lines if line.scene == scene]
    for budget in plan.budgets:
        body.append(table_of(comparison, mine, budget))
    everything = charts.done_runs(plan, comparison.outcomes, scene)
    if not everything:
        return [*body, "<p>No run is done yet.</p>"]
    seeds = [
        charts.seed_chart(plan, groups, scene, budget)
        for budget in plan.budgets
        if (groups := charts.done_runs(plan, comparison.outcomes, scene, budget))
    ]
    sizes = charts.tradeoff_charts(plan, everything, scene)
    body += ["<h3>Quality against size and time</h3>", page.charts([*seeds, *sizes])]
    figures += [*seeds, *sizes]
    body += _crops(comparison, scene, out, figures)
    for budget in plan.budgets:
        groups = charts.done_runs(plan, comparison.outcomes, scene, budget)
        if not groups:
            continue
        over = charts.curve_charts(plan, groups, scene, budget)
        edits = charts.edit_charts(plan, groups, scene, budget)
        figures += [*over, *edits]
        body += [f"<h3>Over a run, {budget_phrase(budget)}</h3>", page.charts(over)]
        body += [
            "<details open><summary>Births and deaths by reason, per"
            f" {(plan.shared.options.steps or 0) / BINS:g} steps</summary>",
            page.charts(edits),
            "</details>",
        ]
    return body


def _crops(comparison: Comparison, scene: str, out: Path, figures: list[Chart]) -> list[str]:
    """The section of the crop in which strategies differ most, of the largest budget and the first
    seed."""
    done = [o for o in comparison.outcomes if o.state == "done" and o.entry.scene == scene]
    budget = max({outcome.entry.budget for outcome in done})
    seed = min({outcome.entry.seed for outcome in done if outcome.entry.budget == budget})
    group = {o.entry.entrant: o for o in done if (o.entry.budget, o.entry.seed) == (budget, seed)}
    try:
        crop = crop_of(comparison.plan, out, scene, group)
    except (OSError, ValueError) as error:
        _log.warning("no crops of %s: %s", scene, error)
        return [f"<p>No crops: {clean(str(error))}</p>"]
    figures.append(montage(crop))
    return ["<h3>Where they differ most</h3>", _crop(crop, comparison)]


def _crop(crop: Crop, comparison: Comparison) -> str:
    looks = styles([entrant.name for entrant in comparison.plan.entrants])
    tiles = [
        f"<figure>{page.image(png(crop.photo), 'the photo')}"
        f"{page.image(png(crop.whole), 'the view')}"
        "<figcaption>photo, and where in the view</figcaption></figure>"
    ]
    for tile in crop.tiles:
        tiles.append(
            f"<figure>{page.image(png(tile.image), tile.name)}"
            f"{page.image(png(tile.error), f'error of {tile.name}')}"
            f"<figcaption>{dot(looks[tile.name].color)}{escape(tile.name)}, {tile.db:.2f} dB here"
            "</figcaption></figure>"
        )
    sentence = (
        "Of all squares in the held-out views the one whose errors are farthest apart: view"
        f" {clean(crop.view)}, {budget_phrase(crop.budget)}, seed {crop.seed}. Below each its"
        " error, black where there is none."
    )
    return f'<p class="faint">{sentence}</p>\n<div class="tiles">\n{"".join(tiles)}\n</div>'


def _keep(figures: Sequence[Chart], folder: Path) -> None:
    """Write the charts as files; those that only an earlier report had are removed then."""
    for chart in figures:
        with replacing(folder / f"{chart.name}.png") as draft:
            draft.write_bytes(chart.data)
    names = {f"{chart.name}.png" for chart in figures}
    for path in [*folder.iterdir()] if folder.is_dir() else ():
        if path.is_file() and path.name not in names:
            path.unlink()


def _anchor(scene: str) -> str:
    return f"scene-{''.join(letter if letter.isalnum() else '-' for letter in scene)}"
