"""Rooms heard where nobody stood: trained fields beside rules that learn nothing, held-out places.

    python bench/hearing.py shoebox/ ell/ hall/ --only-baselines --floor floor.json
    python bench/hearing.py shoebox/ ell/ hall/ --runs runs/ --seeds 0 1 2 \
        --variants adaptive fixed --steps 4000 --floor floor.json --out table.json

A room is a folder of `python -m worlds.rooms`. Its visual run is RUNS/NAME, trained where
it is missing. What is in the file of results is not trained or measured again. Errors are means
over the held-out places of MAG, ENV, T60, EDT and C50 (see `splat.strategies.acoustic`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from common import machine, output_of, program, write_json
from hearing_rooms import HeardRoom, of_answers, of_noise, of_rules, opened
from hearing_table import table, walls_table
from hearing_walls import walls

EQUAL = "545"
"""Points that density control ends with: those that stay are as many from the start."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "adaptive": (),
    "fixed": ("--no-density", "--points", EQUAL),
    "frozen": ("--no-adapt", "--points", EQUAL),
    "pointless": ("--points", "0"),
    "slow": ("--quantile", "0.98"),
}
"""Options of `splat train-audio` by name of the variant; the first is held against the others.
`fixed` learns guidance at points that stay, `frozen` does not, `pointless` has no points at all;
`slow` duplicates the 2 % of the points that are pulled at hardest at a time, as first planned."""
VISUAL = ("--steps", "3000", "--exposure", "off", "--quiet")
Results = dict[str, Any]


def main() -> None:
    asked = arguments()
    torch.set_num_threads(asked.threads)
    results: Results = {"rooms": {}}
    if asked.out.is_file():
        results = json.loads(asked.out.read_text("utf-8"))
    results["machine"] = machine()
    for folder in asked.rooms:
        of_room(opened(folder.resolve()), asked, results)
    if not asked.only_baselines:
        for name in (folder.resolve().name for folder in asked.rooms):
            for run in runs_of(results["rooms"][name], asked):
                if run["variant"] == asked.variants[0]:
                    print(f"\n{name}, {run['variant']}, seed {run['seed']}")
                    print(walls_table(run["walls"]))
    print(said(results, asked))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rooms", type=Path, nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="visual runs, by room")
    parser.add_argument("--work", type=Path, default=None, help="trained fields; RUNS/heard")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["adaptive", "fixed"])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--threads", type=int, default=1, help="while measuring")
    parser.add_argument("--floor", type=Path, default=None, help="file that keeps what is noise")
    parser.add_argument("--only-baselines", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("hearing.json"))
    return parser.parse_args()


def of_room(room: HeardRoom, asked: argparse.Namespace, results: Results) -> None:
    """All that is asked of one room, into the results and to disk as it is found."""
    found = results["rooms"].setdefault(room.name, {"folder": str(room.folder), "runs": []})
    if found["folder"] != str(room.folder):
        raise ValueError(
            f"{asked.out}: has results of {found['folder']}; expected those of {room.folder}: give "
            "another --out"
        )
    if "rules" not in found:
        found["rules"] = of_rules(room)
    if asked.floor is not None:
        found["noise"] = kept(asked.floor, room)
    write_json(asked.out, results)
    if asked.only_baselines:
        return
    for seed in asked.seeds:
        for variant in asked.variants:
            if not any(same(run, variant, seed, asked.steps) for run in found["runs"]):
                found["runs"].append(of_run(room, variant, seed, asked))
                write_json(asked.out, results)


def kept(file: Path, room: HeardRoom) -> dict[str, dict[str, float]]:
    """What is noise in a room: from a file that keeps it, or found and kept there."""
    known: Results = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if str(room.folder) not in known:
        known[str(room.folder)] = of_noise(room)
        write_json(file, known)
    found: dict[str, dict[str, float]] = known[str(room.folder)]
    return found


def same(run: Mapping[str, Any], variant: str, seed: int, steps: int) -> bool:
    return (run["variant"], run["seed"], run["steps"]) == (variant, seed, steps)


def of_run(room: HeardRoom, variant: str, seed: int, asked: argparse.Namespace) -> Results:
    """Train a field and measure it where nobody stood."""
    # Imported here: rules need no field.
    from splat.strategies.acoustic.verbs.heard import hearing

    run = place_of(room, variant, seed, asked)
    seconds = trained(room, run, variant, seed, asked)
    field = hearing(run)
    start = time.perf_counter()
    with torch.no_grad():
        errors = of_answers(room, field)
    each = (time.perf_counter() - start) / len(room.data.test)
    points = field.points.detach().cpu().double().numpy()
    start_points = field.starts.double().numpy()
    row = {"variant": variant, "seed": seed, "steps": asked.steps, "seconds": seconds}
    row |= {"errors": errors, "measuring_seconds_each": each, "began": int(field.began)}
    row["walls"] = walls(room.truth["surfaces"], points, start_points)
    share = row["walls"]["odd_share"]
    print(f"{room.name} {variant} seed {seed}: {seconds:.0f} s, MAG {errors['mag']:.4f}, points on "
          f"odd surfaces {share['end']:.1%} of area {share['area']:.1%}", flush=True)  # fmt: skip
    return row


def place_of(room: HeardRoom, variant: str, seed: int, asked: argparse.Namespace) -> Path:
    """The run that is trained: the visual one's files, linked, and sound of its own."""
    work = asked.work or asked.runs / "heard"
    return Path(work).resolve() / f"{room.name}-{variant}-{asked.steps}-{seed}"


def trained(
    room: HeardRoom, run: Path, variant: str, seed: int, asked: argparse.Namespace
) -> float:
    """Train the field, and the visual run before it where there is none; seconds of the former."""
    visual = (asked.runs / room.name).resolve()
    if not (visual / "point_cloud.ply").is_file():
        output_of([program(), "train", str(room.folder / "scene"), "--out", str(visual), *VISUAL])
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    for file in visual.iterdir():
        if file.name != "audio":
            (run / file.name).symlink_to(file)
    return output_of(command(room, run, variant, seed, asked.steps))[1]


def command(room: HeardRoom, run: Path, variant: str, seed: int, steps: int) -> list[str]:
    """The command that trains a field."""
    sounds = str(room.data.path)
    options = ["--steps", str(steps), "--seed", str(seed), "--threads", "1", "--quiet"]
    options += VARIANTS[variant]
    return [program(), "train-audio", str(run), sounds, *options]


def runs_of(found: Mapping[str, Any], asked: argparse.Namespace) -> list[Results]:
    """Those of the steps, variants and seeds that are asked for."""
    return [
        run
        for run in found["runs"]
        if run["steps"] == asked.steps
        and run["variant"] in asked.variants
        and run["seed"] in asked.seeds
    ]


def said(results: Results, asked: argparse.Namespace) -> str:
    """The tables of each room and of all, which are also written beside the results."""
    rooms = {}
    for folder in asked.rooms:
        found = results["rooms"][folder.resolve().name]
        rooms[folder.resolve().name] = found | {"runs": runs_of(found, asked)}
    parts = [f"### {name}\n\n{table([room], asked.variants)}" for name, room in rooms.items()]
    if len(rooms) > 1:
        whole = table(list(rooms.values()), asked.variants)
        parts.append(f"### Mean of {len(rooms)} rooms\n\n{whole}")
    text = "\n\n".join(parts) + "\n"
    asked.out.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
