"""What grows with the number of photos and of Gaussians, and whether it does so in a line.

Every number has a process of its own, so that its peak memory is its own. Photos are crops of one
large picture that lies on the ground, seen straight down from places drawn at random: with more
photos the scene, and what each step draws, stay the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import Failed, json_of, machine, markdown, script, write_json

PHOTOS = (50, 200, 800, 3000)
UNITS = {
    "step_ms": ("ms a step", 1.0, ".2f"),
    "before_s": ("s before step 0", 1.0, ".2f"),
    "peak_mb": ("peak MB beyond the libraries", 1.0, ".0f"),
}
"""What is measured against photos: what it is called, and how it is written."""
OF_GAUSSIANS = {"step_ms": "ms a step", "peak_mb": "peak MB"}


def line(points: Mapping[float, float]) -> dict[str, float]:
    """The least squares line through points (x: y), and R², the share of y's variance it explains.

    R² is 1 where all y are alike, for a level line explains them.
    """
    count = len(points)
    if count < 2:
        raise ValueError(f"{count} points are no line; expected at least 2 different numbers")
    x, y = (sum(values) / count for values in (points.keys(), points.values()))
    spread = sum((a - x) ** 2 for a in points)
    slope = sum((a - x) * (b - y) for a, b in points.items()) / spread
    rest = sum((b - y - slope * (a - x)) ** 2 for a, b in points.items())
    whole = sum((b - y) ** 2 for b in points.values())
    return {"slope": slope, "intercept": y - slope * x, "r2": 1 - rest / whole if whole else 1.0}


def measured(count: int, options: argparse.Namespace) -> dict[str, Any]:
    """One number of photos."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        scene = str(Path(folder) / "scene")
        width, height = options.size.lower().split("x")
        made = (count, width, height, options.gaussians, options.seed, options.distinct)
        json_of(script("grow_one.py", "make", scene, *map(str, made)))
        asked = (options.steps, options.threads, options.memory or 0, options.max_side)
        return json_of(script("grow_one.py", "measure", scene, *map(str, asked)))


def of_photos(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Lines through what was measured, against photos."""
    return {name: line({r["photos"]: r[name] for r in results}) for name in UNITS}


def of_gaussians(scale: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Lines through what `scale.py` wrote, against Gaussians, on its largest number of threads."""
    found = scale["counts"]
    threads = max(found[0]["threads"], key=int)
    ms = {of["gaussians"]: of["threads"][threads]["iteration_ms"] for of in found}
    mb = {of["gaussians"]: of["peak_memory_mb"] for of in found}
    return {"step_ms": line(ms), "peak_mb": line(mb)}


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """What was measured."""
    heads = ["photos", *(name for name, _, _ in UNITS.values())]
    rows = [
        [f"{r['photos']:,}", *(format(r[n] * by, form) for n, (_, by, form) in UNITS.items())]
        for r in results
    ]
    return markdown(heads, rows)


def lines(fits: Mapping[str, Mapping[str, float]], names: Mapping[str, str], per: str) -> str:
    """The fits."""
    heads = ["", f"slope, per 1,000 {per}", "intercept", "R²"]
    rows = [
        [names[n], f"{f['slope'] * 1e3:.4g}", f"{f['intercept']:.4g}", f"{f['r2']:.4f}"]
        for n, f in fits.items()
    ]
    return markdown(heads, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, nargs="*", default=list(PHOTOS))
    parser.add_argument("--size", default="320x240", metavar="WxH", help="of a photo")
    parser.add_argument("--distinct", type=int, default=0, help="photos that differ; 0: all")
    parser.add_argument("--max-side", type=int, default=0, help="as --max-side of splat train")
    parser.add_argument("--gaussians", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=60, help="steps of each run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, help="bytes, as --memory of splat train; none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where photos are kept for a while")
    parser.add_argument("--scale", type=Path, help="what scale.py wrote, to be fitted as well")
    parser.add_argument("--out", type=Path, default=Path("grow.json"))
    options = parser.parse_args()
    record: dict[str, Any] = {
        "machine": machine(),
        "size": options.size,
        "gaussians": options.gaussians,
        "photos": [],
        "failed": {},
    }
    for count in sorted(set(options.photos)):
        try:
            record["photos"].append(measured(count, options))
            print(table(record["photos"][-1:]), flush=True)
        except Failed as error:
            record["failed"][str(count)] = str(error)
            print(f"{count:,} photos failed: {error}", flush=True)
        write_json(options.out, record)
    if len(record["photos"]) > 1:
        record["of_photos"] = of_photos(record["photos"])
        names = {name: called for name, (called, _, _) in UNITS.items()}
        print(f"\n{table(record['photos'])}\n\n{lines(record['of_photos'], names, 'photos')}")
    if options.scale:
        record["of_gaussians"] = of_gaussians(json.loads(options.scale.read_text()))
        print("\n" + lines(record["of_gaussians"], OF_GAUSSIANS, "Gaussians"))
    write_json(options.out, record)


if __name__ == "__main__":
    main()
