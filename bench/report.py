"""Everything in one run: a step, scenes, and others beside them, in turns; medians and ratios.

Contestants take turns (A B C A B C ...), so that what slows the machine down slows all of them.
Prints tables in Markdown; writes report.json and report.png. What fails is told and left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import quality
from common import Failed, machine, script, write_json
from quality import Job, Peer
from rounds import (
    GSPLAT,
    YARDSTICK,
    Contestant,
    Rounds,
    against,
    against_table,
    ratios,
    ratios_table,
    steps_table,
)

from splat import kernels


def contestants(options: argparse.Namespace) -> list[Contestant]:
    """Who takes part in the step; ours come first."""
    threads = str(options.threads)
    step = ["--json", "--threads", threads, "--repeats", str(options.repeats)]
    step += ["--count", str(options.count)] if options.count else []
    step += ["--size", *options.size] if options.size else []
    made = [
        Contestant(f"splat {isa}", script("step.py", *step, "--isa", isa))
        for isa in options.isa or [kernels.isa()]
    ]
    if options.yardstick:
        name = f"{YARDSTICK} {options.yardstick.stem}"
        made.append(Contestant(name, [sys.executable, str(options.yardstick), threads]))
    if options.gsplat:
        made.append(
            Contestant(GSPLAT, script(
                "gsplat_reference.py", "--threads", threads, "--count", str(options.gsplat_count),
                "--size", options.gsplat_size,
            ))
        )  # fmt: skip
    return made


def step_rounds(options: argparse.Namespace, record: dict[str, Any], path: Path) -> None:
    """Rounds of the step; the record is written after each turn."""
    asked = contestants(options)
    ours = [one.name for one in asked if one.name.startswith("splat")]
    rounds = Rounds(failed=record["failed"])
    for number in range(options.rounds):
        for contestant in asked:
            print(f"round {number + 1} of {options.rounds}: {contestant.name}", flush=True)
            rounds.turn(contestant, number)
            record["rounds"] = {name: list(kept.values()) for name, kept in rounds.results.items()}
            record["steps"] = rounds.medians()
            record["ratios"] = ratios(rounds, ours)
            write_json(path, record)


def scene_rounds(options: argparse.Namespace, record: dict[str, Any], path: Path) -> None:
    """Scenes, each by splat and by the peer in turns."""
    steps = max(options.marks)
    peer = Peer(options.peer, options.peer_psnr) if options.peer else None
    for scene in options.scenes:
        job = Job(scene, options.method, steps, options.downscale, options.cap)
        name = Path(scene).resolve().name
        found: dict[str, list[list[quality.Point]]] = {}
        for number in range(options.scene_rounds):
            place = options.out / "runs" / str(number)
            for who in ["splat", *(["peer"] if peer else [])]:
                try:
                    if who == "splat":
                        points = quality.points(job, place / job.name, options.marks)
                    else:
                        assert peer is not None
                        points = [peer.point(job, place / f"{job.name}-peer")]
                except (Failed, OSError, ValueError, KeyError) as error:
                    failure = {"name": f"{who}, {name}", "round": number, "error": str(error)}
                    record["failed"].append(failure)
                    continue
                found.setdefault(who, []).append(points)
                record["scene_rounds"][name] = found
                record["scenes"][name] = {n: quality.middle(made) for n, made in found.items()}
                write_json(path, record)


def printed(record: dict[str, Any]) -> None:
    """The record for people."""
    if record["steps"]:
        print(f"\n{steps_table(record['steps'])}")
    if record["ratios"]:
        print(f"\n{ratios_table(record['ratios'])}")
    if record.get("against_reference"):
        print(f"\n{against_table(record['against_reference'])}")
    if record["scenes"]:
        print(f"\n{quality.table(record['scenes'])}")
    for failure in record["failed"]:
        print(f"\nfailed: {failure['name']}, round {failure['round'] + 1}: {failure['error']}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("report"), metavar="FOLDER")
    add("--rounds", type=int, default=3, help="turns of each contestant; 0: no steps")
    add("--threads", type=int, default=2)
    add("--repeats", type=int, default=24, help="steps timed in a turn")
    add("--isa", nargs="+", help="instruction sets to time (default: the machine's best)")
    add("--count", type=int, help="Gaussians of the step (default: those of step.py)")
    add("--size", nargs="+", metavar="WxH", help="pictures of the step (default: of step.py)")
    add("--yardstick", type=Path, metavar="FILE.py", help="a script that prints such JSON too")
    add("--gsplat", action="store_true", help="time gsplat's torch reference; it is slow")
    add("--gsplat-count", type=int, default=10_000)
    add("--gsplat-size", default="200x200", metavar="WxH")
    add("--scenes", nargs="+", default=[], metavar="DIR")
    add("--scene-rounds", type=int, default=1)
    add("--marks", type=int, nargs="+", default=[1000, 3000, 7000], help="steps to measure at")
    add("--method", default="mcmc")
    add("--downscale", type=int, default=2)
    add("--cap", type=int, default=60_000)
    add("--peer", metavar="COMMAND", help="with {scene}, {steps}, {downscale}, {out}")
    add("--peer-psnr", metavar="REGEX", help="its first group is the PSNR in what it prints")
    add("--reference", type=Path, default=Path(__file__).with_name("reference.json"))
    add("--store", action="store_true", help="make this run the reference")
    options = parser.parse_args()
    path = options.out / "report.json"
    record: dict[str, Any] = {
        "machine": machine(), "options": {k: str(v) for k, v in vars(options).items()},
        "rounds": {}, "steps": {}, "ratios": {}, "scene_rounds": {}, "scenes": {}, "failed": [],
    }  # fmt: skip
    if (record["machine"]["load"] or 0) > 0.5:
        print(f"warning: the load is {record['machine']['load']}: figures want an idle machine")
    step_rounds(options, record, path)
    scene_rounds(options, record, path)
    if options.store:
        kept = {name: record[name] for name in ("machine", "steps", "ratios", "scenes")}
        write_json(options.reference, kept)
    elif options.reference.exists():
        reference = json.loads(options.reference.read_text())
        record["reference_machine"] = reference["machine"]
        record["against_reference"] = against(record["steps"], reference)
    write_json(path, record)
    from charts import report_chart

    report_chart(record, options.out / "report.png")
    printed(record)
    print(f"\nin {options.out}: report.json, report.png")
    return 1 if record["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
