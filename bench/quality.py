"""Time to quality: PSNR on held-out views against seconds, for splat and for a peer's command."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from common import markdown, output_of, trained

Point = dict[str, Any]
"""`step`, `seconds` (of training, or of a peer's whole command) and `psnr` in dB."""


@dataclass(frozen=True)
class Job:
    """One run of `splat train`."""

    scene: str
    """Folder of the scene."""
    method: str
    steps: int
    downscale: int
    cap: int
    """Most Gaussians the method may make."""

    @property
    def name(self) -> str:
        """Folder of the run: unlike settings never share one."""
        scene = Path(self.scene).resolve().name
        return f"{scene}-d{self.downscale}-{self.method}-{self.steps}-{self.cap}"

    def arguments(self, folder: Path, more: Sequence[str] = ()) -> list[str]:
        """What `splat` is given; an unfinished run of this name starts over."""
        return [
            "train", self.scene, "--out", str(folder),
            "--downscale", str(self.downscale), "--steps", str(self.steps), *more,
            "--overwrite", "--json", self.method, "--cap", str(self.cap),
        ]  # fmt: skip


@dataclass(frozen=True)
class Peer:
    """Another trainer, as the caller starts it."""

    command: str
    """For the shell; {scene}, {steps}, {downscale} and {out} are filled in."""
    pattern: str | None
    """A regular expression whose last match's first group is the PSNR in what it prints."""

    def point(self, job: Job, folder: Path) -> Point:
        """Train with it: wall clock of the command, start-up and all."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        given = {"scene": job.scene, "steps": job.steps, "downscale": job.downscale, "out": folder}
        said, seconds = output_of(
            self.command.format(**{name: shlex.quote(str(value)) for name, value in given.items()})
        )
        found = re.findall(self.pattern, said) if self.pattern else []
        psnr = float(found[-1][0] if isinstance(found[-1], tuple) else found[-1]) if found else None
        return {"step": job.steps, "seconds": seconds, "psnr": psnr}


def points(job: Job, folder: Path, marks: Sequence[int]) -> list[Point]:
    """Train with splat, measuring on the way; what that took is taken out of the seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    on_the_way = [mark for mark in marks if mark < job.steps]
    more = ["--eval-every", str(math.gcd(*on_the_way))] if on_the_way else []
    start = time.perf_counter()
    metrics = trained(folder, job.arguments(folder, more))
    command = time.perf_counter() - start
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    made, lost = measured(records, marks)
    end = {"step": metrics["steps"], "seconds": metrics["seconds"] - lost, "psnr": metrics["psnr"]}
    return [*made, end | {"command_seconds": command, "gaussians": metrics["gaussians"]}]


def measured(
    records: Sequence[Mapping[str, Any]], marks: Sequence[int]
) -> tuple[list[Point], float]:
    """Measurements at the marks, and the seconds that all measuring took."""
    made, lost = [], 0.0
    for record in records:
        if "test_psnr" not in record:
            continue
        lost += record["look_seconds"]
        if record["step"] in marks:
            seconds = record["seconds"] - lost
            made.append({"step": record["step"], "seconds": seconds, "psnr": record["test_psnr"]})
    return made, lost


def middle(rounds: Sequence[Sequence[Point]]) -> list[Point]:
    """Medians of the points of several rounds, step by step."""
    by_step: dict[int, list[Point]] = {}
    for found in rounds:
        for point in found:
            by_step.setdefault(point["step"], []).append(point)
    return [
        {"step": step, **{key: of(found, key) for key in found[0] if key != "step"}}
        for step, found in sorted(by_step.items())
    ]


def of(found: Sequence[Point], key: str) -> float | None:
    """The median of what is known."""
    known = [point[key] for point in found if point.get(key) is not None]
    return median(known) if known else None


def table(scenes: Mapping[str, Mapping[str, Sequence[Point]]]) -> str:
    """A line for each scene, contestant and mark."""
    lines = [
        [
            scene,
            name,
            str(point["step"]),
            f"{point['seconds']:.1f}",
            "-" if point["psnr"] is None else f"{point['psnr']:.2f}",
            f"{point['command_seconds']:.1f}" if "command_seconds" in point else "",
        ]
        for scene, contestants in scenes.items()
        for name, found in contestants.items()
        for point in found
    ]
    heads = ["scene", "trainer", "steps", "seconds", "PSNR, dB", "whole command, s"]
    return markdown(heads, lines)
