"""How good a scene of few photos gets, and whether more steps make it worse.

    python bench/few_photos.py fox=DATA/fox DATA/plush_phone --counts 10 20 all --out runs/few
    python bench/few_photos.py DATA/fox --counts 15 --methods "mrnf + renew" mcmc "fixed --fill 60k"
    python bench/few_photos.py DATA/fox --counts 15 --settings dropout=0 dropout=0.2,exposure=off

Of the photos to train on so many are taken, evenly spread over their names; what is held out stays
the same, and the points are those of all photos. Every method, setting (options of a run as
name=value, with commas; empty: as it is), number of steps and seed is a run of its own; a command
that is given again goes on where it was stopped. OUT gets the runs, `table.md` and `table.json`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from common import machine, markdown, write_json

from splat import api
from splat.math import spread
from splat.options import Options, Watching
from splat.recipes.recipe import strategy_from_text
from splat.system import machine as own_machine
from splat.system.files import read_json

METHODS = ("mrnf + renew", "mcmc", "fixed --fill 60k")
STEPS = (1000, 3000, 7000)


@dataclass(frozen=True)
class Cell:
    """One run."""

    scene: str
    path: Path
    count: int
    """Photos to train on; 0: all."""
    method: str
    setting: str
    steps: int
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        said = f"{self.method} {self.setting or 'as it is'}"
        word = "".join(letter if letter.isalnum() or letter in ".=+-" else "-" for letter in said)
        return f"{self.scene}-{self.count or 'all'}/{word}-{self.steps}-seed{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="+", help="folders, or NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--counts", nargs="+", default=["10", "20", "all"])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--settings", nargs="+", default=["dropout=0", ""])
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=60_000, help="most Gaussians")
    parser.add_argument("--max-side", type=int, default=480, help="pixels")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    asked = parser.parse_args()
    cells = list(cells_of(asked))
    for cell in cells:  # what cannot be is said before anything is trained
        strategy_from_text(cell.method), options_of(cell, asked.max_side, 1)
        if cell.count > (known := len(api.load(cell.path).train)):
            sys.exit(f"{cell.path}: has {known} photos to train on, {cell.count} were asked for")
    threads = max(1, own_machine.cores() // asked.at_once)
    left = [cell for cell in cells if not (asked.out / cell.name / "metrics.json").is_file()]
    with ProcessPoolExecutor(asked.at_once, multiprocessing.get_context("spawn")) as pool:
        going = {
            pool.submit(train, cell, asked.out, asked.rows, asked.max_side, threads): cell
            for cell in left
        }
        for done in as_completed(going):
            print(f"{done.result():.2f} dB  {going[done].name}", flush=True)
    write_tables(cells, asked.out)


def cells_of(asked: argparse.Namespace) -> Iterator[Cell]:
    """The runs that were asked for."""
    counts = [0 if count == "all" else int(count) for count in asked.counts]
    every = product(counts, asked.methods, asked.settings, asked.steps, range(asked.seeds))
    rest = list(every)
    for text in asked.scenes:
        name, _, path = text.rpartition("=")
        for count, method, setting, steps, seed in rest:
            yield Cell(name or Path(path).name, Path(path), count, method, setting, steps, seed)


def options_of(cell: Cell, max_side: int, threads: int) -> Options:
    """The options of a run; ValueError where a setting is none."""
    options = Options(steps=cell.steps, seed=cell.seed, max_side=max_side, threads=threads)
    known = {field.name for field in fields(Options)}
    given: dict[str, Any] = {}
    for part in filter(None, cell.setting.split(",")):
        name, _, value = part.partition("=")
        if name not in known:
            raise ValueError(f"{part!r} is no option of a run; expected such as dropout=0.2")
        given[name] = float(value) if value.replace(".", "", 1).isdecimal() else value
    return replace(options, **given)


def train(cell: Cell, out: Path, rows: int, max_side: int, threads: int) -> float:
    """Train and measure; the PSNR of what is held out."""
    scene = api.load(cell.path)
    if cell.count:
        taken = [scene.train[i] for i in spread(len(scene.train), cell.count)]
        numbered = (
            replace(view, camera=view.camera.changed(index=i)) for i, view in enumerate(taken)
        )
        scene = replace(scene, train=tuple(numbered))
    result = api.train(
        scene,
        strategy_from_text(cell.method).limited(rows),
        options_of(cell, max_side, threads),
        out=out / cell.name,
        overwrite=True,
        watching=Watching(quiet=True, pictures=False),
        command=f"bench/few_photos.py: {cell.name}",
    )
    return float(result.metrics["psnr"])


def write_tables(cells: Sequence[Cell], out: Path) -> None:
    """`table.md` and `table.json`: PSNR and SSIM by the number of steps."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for cell in cells:
        line = cell.scene, cell.count, cell.method, cell.setting, cell.steps
        found.setdefault(line, []).append(read_json(out / cell.name / "metrics.json"))
    steps = sorted({cell.steps for cell in cells})
    lines = []
    for scene, count, method, setting in dict.fromkeys(key[:4] for key in found):
        texts = [_cell(found[scene, count, method, setting, each]) for each in steps]
        lines.append([scene, str(count or "all"), f"`{method}`", setting or "as it is", *texts])
    heads = ["scene", "photos", "method", "setting", *(f"{each:,} steps" for each in steps)]
    text = (
        "Held-out PSNR in dB, ± the standard deviation over seeds, and SSIM.\n\n"
        f"{markdown(heads, lines)}\n"
    )
    (out / "table.md").write_text(text)
    write_json(
        out / "table.json",
        {
            "machine": machine(),
            "runs": [
                {**dict(zip(("scene", "photos", "method", "setting", "steps"), key, strict=True)),
                 "psnr": [each["psnr"] for each in metrics],
                 "ssim": [each["ssim"] for each in metrics],
                 "lpips": [each.get("lpips") for each in metrics],
                 "seconds": [each["seconds"] for each in metrics]}
                for key, metrics in found.items()
            ],
        },
    )  # fmt: skip
    print(text)


def _cell(metrics: Sequence[dict[str, Any]]) -> str:
    values = [each["psnr"] for each in metrics]
    more = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{more}, {mean(each['ssim'] for each in metrics):.3f}"


if __name__ == "__main__":
    main()
