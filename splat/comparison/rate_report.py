"""What is written of files at equal bytes: a table, a list and a plot for each scene."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from splat.comparison.asked import slug
from splat.comparison.drawing import Chart, Label, chart_of, draw_labels, panel, span_axis, styles
from splat.comparison.rates import Point
from splat.system.files import replacing, write_json
from splat.system.text import size as size_text

LONGEST = 40
"""Letters of a label: a recipe of two parts and the ending of its file."""
FIGURES = "figures"
"""The folder of plots."""


def write_curves(points: Sequence[Point], out: Path) -> None:
    """Write `rates.csv`, `rates.json`, `rates.md` and a picture for each scene."""
    with replacing(out / "rates.csv") as draft, draft.open("w", newline="") as file:
        table = csv.DictWriter(file, list(asdict(points[0])))
        table.writeheader()
        table.writerows(asdict(point) for point in points)
    write_json(out / "rates.json", [asdict(point) for point in points])
    with replacing(out / "rates.md") as draft:
        draft.write_text(table_text(points), encoding="utf-8")
    (out / FIGURES).mkdir(exist_ok=True)
    for scene in dict.fromkeys(point.scene for point in points):
        chart = rate_chart(points, scene)
        with replacing(out / FIGURES / f"{chart.name}.png") as draft:
            draft.write_bytes(chart.data)


def table_text(points: Sequence[Point]) -> str:
    """A table for each scene: what a file of each representation shows and weighs at each size, and
    as which part of the `.ply` that shows as much."""
    lines = []
    for scene, here in _by(points, "scene").items():
        sizes = sorted({point.size for point in here})
        lines += [f"**{scene}**", "", "| | " + " | ".join(map(size_text, sizes)) + " |"]
        lines.append("|---" * (len(sizes) + 1) + "|")
        for name, own in _by(here, "representation").items():
            at = {point.size: point for point in own}
            cells = [_cell(at[s]) if s in at else "" for s in sizes]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(point: Point) -> str:
    smaller = "" if point.times is None else f", 1/{point.times:.0f}"
    return f"{point.psnr:.2f} dB ({size_text(round(point.bytes))}{smaller})"


def rate_chart(points: Sequence[Point], scene: str) -> Chart:
    """PSNR against the bytes of files, a line for each representation."""
    groups = _by([point for point in points if point.scene == scene], "representation")
    looks = styles(list(groups))
    figure, axes = panel(f"{scene}: PSNR (dB) of what is read back", "kB of the file")
    labels = []
    for name, group in groups.items():
        style = looks[name]
        line = sorted((point.bytes / 1e3, point.psnr) for point in group)
        x, y = zip(*line, strict=True)
        axes.plot(x, y, style.marker, ls=style.line, color=style.color, lw=1.4, markersize=6)
        labels.append(Label(x[-1], y[-1], name, style.color))
    span_axis(axes, [point.bytes / 1e3 for group in groups.values() for point in group])
    draw_labels(figure, axes, labels, LONGEST)
    return chart_of(figure, f"{slug(scene)}-rates", f"{scene}: PSNR against bytes of files")


def _by(points: Sequence[Point], field: str) -> Mapping[str, list[Point]]:
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(getattr(point, field), []).append(point)
    return groups
