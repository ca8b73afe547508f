"""Tables of `hearing.py`: errors of rules, of noise and of trained fields, and what is gained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from common import markdown

METRICS = {
    "mag": ("MAG", 4),
    "played": ("MAG, played", 4),
    "env": ("ENV", 4),
    "t60": ("T60, s", 4),
    "t60_percent": ("T60, %", 2),
    "edt": ("EDT, s", 4),
    "c50": ("C50, dB", 3),
}
"""Heads and digits; errors all, less is better. Rules whose spectrogram is a mean play no sound."""
NAMED = ("mean", "nearest", "attenuated")
"""Rules that are usual; `delayed` is a harder one of ours."""
Figures = Mapping[str, float]
Room = Mapping[str, Any]
"""`rules` and `noise` by row, `runs` with `variant`, `seed` and `errors`."""


def mean_of(rows: Sequence[Figures]) -> dict[str, float]:
    """Of several rooms; NaN where a room has none."""
    return {name: fmean(row.get(name, math.nan) for row in rows) for name in METRICS}


def rules(rooms: Sequence[Room], part: str) -> dict[str, dict[str, float]]:
    """Each row of `rules` or `noise` that all rooms have, as the mean over the rooms."""
    names = [name for name in rooms[0].get(part, {}) if all(name in r.get(part, {}) for r in rooms)]
    return {name: mean_of([room[part][name] for room in rooms]) for name in names}


def seeds(rooms: Sequence[Room], variant: str) -> dict[int, dict[str, float]]:
    """By seed, the mean over the rooms; of the seeds that every room has."""
    each = [{r["seed"]: r["errors"] for r in room["runs"] if r["variant"] == variant}
            for room in rooms]  # fmt: skip
    common = sorted(set.intersection(*(set(by_seed) for by_seed in each))) if each else []
    return {seed: mean_of([by_seed[seed] for by_seed in each]) for seed in common}


def best(found: Mapping[str, Figures]) -> dict[str, tuple[str, float]]:
    """The rule with the least error, metric by metric; one that has none is never the best."""
    return {
        metric: min(
            ((name, row[metric]) for name, row in found.items()),
            key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1],
        )
        for metric in METRICS
    }


def gains(ours: Sequence[Figures], bar: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """By how much the mean over seeds is below a bar: per cent of the bar, and in sd of the seeds.

    The latter is NaN for one seed.
    """
    found = {}
    for metric, limit in bar.items():
        values = [row[metric] for row in ours]
        gain = limit - fmean(values)
        spread = stdev(values) if len(values) > 1 else math.nan
        found[metric] = 100 * gain / limit, gain / spread if spread else math.inf
    return found


def paired(
    ours: Mapping[int, Figures], theirs: Mapping[int, Figures]
) -> dict[str, tuple[float, float]]:
    """By how much one variant is below another with the same seeds: per cent, and in sd of that."""
    both = sorted(set(ours) & set(theirs))
    found = {}
    for metric in METRICS:
        apart = [theirs[seed][metric] - ours[seed][metric] for seed in both]
        whole = fmean(theirs[seed][metric] for seed in both)
        spread = stdev(apart) if len(apart) > 1 else math.nan
        found[metric] = 100 * fmean(apart) / whole, fmean(apart) / spread if spread else math.inf
    return found


def table(rooms: Sequence[Room], variants: Sequence[str]) -> str:
    """Rows of rules, of noise and of variants, then what these gain; the mean over `rooms`."""
    known = rules(rooms, "rules")
    lines = [_line(name, row) for name, row in known.items()]
    lines += [_line(f"({name})", row) for name, row in rules(rooms, "noise").items()]
    trained = {name: found for name in variants if (found := seeds(rooms, name))}
    lines += [_spread(name, list(found.values())) for name, found in trained.items()]
    for title, names in (("best usual rule", NAMED), ("best rule", tuple(known))):
        bars = best({name: known[name] for name in names})
        lines.append([title, *(bars[metric][0] for metric in METRICS)])
        for name, found in trained.items():
            won = gains(list(found.values()), {metric: bars[metric][1] for metric in METRICS})
            lines.append([f"{name} against the {title}", *_won(won)])
    first, *others = trained or [""]
    for other in others:
        if set(trained[first]) & set(trained[other]):
            lines.append(
                [f"{first} against {other}", *_won(paired(trained[first], trained[other]))]
            )
    return markdown(["", *(head for head, _ in METRICS.values())], lines)


def walls_table(found: Mapping[str, Any]) -> str:
    """Points by surface: share of area, and points a square metre."""
    whole = sum(row["area"] for row in found["surfaces"])
    lines = []
    for row in found["surfaces"]:
        many = [row.get(f"{name}_count") for name in ("start", "end", "born")]
        dense = [row.get(f"{name}_per_m2") for name in ("start", "end")]
        lines.append(
            [
                row["name"] + (" (odd)" if row["odd"] else ""),
                row["material"],
                f"{row['absorption']:.2f}",
                f"{100 * row['area'] / whole:.1f} %",
                *("-" if value is None else str(value) for value in many),
                *("-" if value is None else f"{value:.1f}" for value in dense),
            ]
        )
    heads = ["surface", "material", "absorption", "area", "start", "end", "born less removed"]
    return markdown([*heads, "start, a m²", "end, a m²"], lines)


def _line(name: str, row: Figures) -> list[str]:
    return [name, *(_number(row[metric], digits) for metric, (_, digits) in METRICS.items())]


def _spread(name: str, rows: Sequence[Figures]) -> list[str]:
    cells = []
    for metric, (_, digits) in METRICS.items():
        values = [row[metric] for row in rows]
        said = _number(fmean(values), digits)
        cells.append(said + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""))
    return [f"{name} ({len(rows)} seeds)", *cells]


def _won(found: Mapping[str, tuple[float, float]]) -> list[str]:
    return [f"{found[m][0]:+.1f} %, {_number(found[m][1], 1)} sd" for m in METRICS]


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
