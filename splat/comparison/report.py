"""The report of a comparison: a page of HTML that stands alone, its charts, and tables as CSV."""

from __future__ import annotations

import logging
import shutil
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
    counted,
    dot,
    entrants,
    failures,
    table_of,
    verdicts,
    within,
)
from splat.comparison.table import Line, lines, over_scenes
from splat.evaluation.pictures import BINS, png
from splat.system.files import replacing, write_json

REPORT, FIGURES_FOLDER = "report.html", "figures"

_log = logging.getLogger(__name__)


def written(found: Comparison, out: Path) -> None:
    """Write the report of a comparison, as far as it is, into its folder."""
    each = lines(found.plan, found.outcomes, found.reference)
    means = over_scenes(found.plan, found.outcomes, found.reference) if _many(found) else []
    text.write_runs(found.outcomes, out / "runs.csv")
    text.write_table([*means, *each], out / "table.csv")
    write_json(out / "results.json", plain_results(found))
    figures: list[Chart] = []
    body = [_head(found, means or each), failures(found.outcomes)]
    if means:
        body.append('<h2 id="mean">Mean over scenes</h2>')
        body += [table_of(found, means, budget) for budget in found.plan.budgets]
    for scene in found.plan.scenes:
        body += _scene(found, each, scene.name, out, figures)
    body += ['<h2 id="protocol">How it was measured</h2>', protocol(found), entrants(found)]
    _keep(figures, out / FIGURES_FOLDER)
    with replacing(out / REPORT) as draft:
        draft.write_text(page.page(_title(found), body), encoding="utf-8")


def plain_results(found: Comparison) -> dict[str, Any]:
    """All figures, for JSON."""
    each = lines(found.plan, found.outcomes, found.reference)
    means = over_scenes(found.plan, found.outcomes, found.reference) if _many(found) else []
    return {
        "reference": found.reference,
        "steps": found.plan.shared.options.steps,
        "runs": [
            {**asdict(o.entry), "state": o.state, "failed": o.note.failed, **o.figures}
            for o in found.outcomes
        ],
        "table": [asdict(line) for line in [*means, *each]],
    }


def summary_text(found: Comparison, out: Path) -> str:
    """The tables for a terminal, and where the report is."""
    each = lines(found.plan, found.outcomes, found.reference)
    means = over_scenes(found.plan, found.outcomes, found.reference) if _many(found) else []
    groups: dict[str, list[Line]] = {}
    for line in [*means, *each]:
        groups.setdefault(_where(line), []).append(line)
    blocks = [f"{title}\n{text.text_table(g, found.reference)}" for title, g in groups.items()]
    failed = [f"{o.entry.key} failed: {o.note.failed}" for o in found.outcomes if o.note.failed]
    blocks += ["\n".join(failed)] if failed else []
    missing = sum(outcome.state in ("begun", "waiting") for outcome in found.outcomes)
    if missing:
        blocks.append(f"{missing} of {len(found.outcomes)} runs are still to be done")
    return "\n\n".join([*blocks, f"report: {out / REPORT}"])


def _many(found: Comparison) -> bool:
    return len(found.plan.scenes) > 1


def _where(line: Line) -> str:
    return f"{line.scene or 'mean over scenes'}, {within(line.budget)}"


def _title(found: Comparison) -> str:
    return f"Strategies compared: {', '.join(entrant.name for entrant in found.plan.entrants)}"


def _head(found: Comparison, headline: Sequence[Line]) -> str:
    plan, outcomes = found.plan, found.outcomes
    done = sum(outcome.state == "done" for outcome in outcomes)
    seeds = len(plan.seeds)
    said = (
        f"{len(plan.entrants)} strategies on {counted(len(plan.scenes), 'scene')},"
        f" {counted(seeds, 'seed')}, {plan.shared.options.steps:,} steps each."
    )
    if done < len(outcomes):
        said += f" {done} of {len(outcomes)} runs are done."
    links = [("mean", "Mean over scenes")] if _many(found) else []
    links += [(_anchor(scene.name), scene.name) for scene in plan.scenes]
    links.append(("protocol", "How it was measured"))
    shown = " ".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in links)
    leads = "".join(f'<p class="lead">{verdict}</p>' for verdict in verdicts(found, headline))
    return f"<h1>Strategies compared</h1>\n<p>{escape(said)}</p>\n{leads}\n<nav>{shown}</nav>"


def _scene(
    found: Comparison, each: Sequence[Line], scene: str, out: Path, figures: list[Chart]
) -> list[str]:
    """All that is said of a scene."""
    plan = found.plan
    body = [f'<h2 id="{_anchor(scene)}">{escape(scene)}</h2>']
    mine = [line for line in each if line.scene == scene]
    for budget in plan.budgets:
        body.append(table_of(found, mine, budget))
    everything = charts.grouped(plan, found.outcomes, scene)
    if not everything:
        return [*body, "<p>No run is done yet.</p>"]
    seeds = [
        charts.strip(plan, groups, scene, budget)
        for budget in plan.budgets
        if (groups := charts.grouped(plan, found.outcomes, scene, budget))
    ]
    sizes = charts.against(plan, everything, scene)
    body += ["<h3>Quality against size and time</h3>", page.charts([*seeds, *sizes])]
    figures += [*seeds, *sizes]
    body += _crops(found, scene, out, figures)
    for budget in plan.budgets:
        groups = charts.grouped(plan, found.outcomes, scene, budget)
        if not groups:
            continue
        over = charts.over_time(plan, groups, scene, budget)
        edits = charts.edits(plan, groups, scene, budget)
        figures += [*over, *edits]
        body += [f"<h3>Over a run, {within(budget)}</h3>", page.charts(over)]
        body += [
            "<details open><summary>Births and deaths by reason, per"
            f" {(plan.shared.options.steps or 0) / BINS:g} steps</summary>",
            page.charts(edits),
            "</details>",
        ]
    return body


def _crops(found: Comparison, scene: str, out: Path, figures: list[Chart]) -> list[str]:
    """The crop in which strategies differ most, of the largest budget and the first seed."""
    done = [o for o in found.outcomes if o.state == "done" and o.entry.scene == scene]
    budget = max({outcome.entry.budget for outcome in done})
    seed = min({outcome.entry.seed for outcome in done if outcome.entry.budget == budget})
    group = {o.entry.entrant: o for o in done if (o.entry.budget, o.entry.seed) == (budget, seed)}
    try:
        crop = crop_of(found.plan, out, scene, group)
    except (OSError, ValueError) as error:
        _log.warning("no crops of %s: %s", scene, error)
        return [f"<p>No crops: {clean(str(error))}</p>"]
    figures.append(montage(crop))
    return ["<h3>Where they differ most</h3>", _crop(crop, found)]


def _crop(crop: Crop, found: Comparison) -> str:
    looks = styles([entrant.name for entrant in found.plan.entrants])
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
    said = (
        "Of all squares in the held-out views the one whose errors are farthest apart: view"
        f" {clean(crop.view)}, {within(crop.budget)}, seed {crop.seed}. Below each its error,"
        " black where there is none."
    )
    return f'<p class="faint">{said}</p>\n<div class="tiles">\n{"".join(tiles)}\n</div>'


def _keep(figures: Sequence[Chart], folder: Path) -> None:
    """The charts as files; those of an earlier report go."""
    shutil.rmtree(folder, ignore_errors=True)
    for chart in figures:
        with replacing(folder / f"{chart.name}.png") as draft:
            draft.write_bytes(chart.data)


def _anchor(scene: str) -> str:
    return f"scene-{''.join(letter if letter.isalnum() else '-' for letter in scene)}"
