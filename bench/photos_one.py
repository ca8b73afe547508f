"""Parts of `photos.py` that each have a process of their own; the last line printed is JSON.

python bench/photos_one.py make FOLDER COUNT WxH    writes photos of noise that looks like photos
python bench/photos_one.py train FOLDER COUNT OPTIONS
                                                    trains on the first COUNT of them; OPTIONS is
                                                    JSON: points, cap and fields of `Options`
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from workload import size_of

from splat.core.step import Step
from splat.loop import Run
from splat.options import Options, Watching
from splat.recipes.recipe import strategy_from_text
from splat.system import machine
from splat.training import session, time_budget
from splat.training.decide import decide
from splat.training.row_budget import within_budget
from splat.types import Camera, Points, SceneData, View

DISTINCT = 8
"""Photos that differ: the others are links to them under names of their own. A decoder's work is
the same each time, and so is a cache's, which goes by names."""
QUALITY = 92


def make(folder: Path, count: int, size: tuple[int, int]) -> dict[str, Any]:
    """JPEGs that take about as many bytes as those of a camera: noise of many sizes, and grain."""
    folder.mkdir(parents=True, exist_ok=True)
    (width, height), draw = size, np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index:05d}.jpg"
        if path.exists():
            continue
        if index >= DISTINCT:
            os.link(folder / f"{index % DISTINCT:05d}.jpg", path)
            continue
        picture = np.full((height, width, 3), 128.0, np.float32)
        for level in range(2, 10):
            cells = (max(2, height >> level), max(2, width >> level), 3)
            noise = draw.standard_normal(cells).astype(np.float32)
            picture += 5 * level**0.5 * cv2.resize(noise, (width, height))
        picture += 4 * draw.standard_normal((height, width, 1)).astype(np.float32)
        cv2.imwrite(str(path), picture.clip(0, 255), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    sizes = [(folder / f"{index:05d}.jpg").stat().st_size for index in range(min(count, DISTINCT))]
    return {"photos": count, "distinct": len(sizes), "mb_each": sum(sizes) / len(sizes) / 1e6}


def scene_of(folder: Path, count: int, points: int) -> SceneData:
    """Photos all round a ball of points."""
    first = cv2.imread(str(folder / "00000.jpg"))
    assert first is not None
    height, width = first.shape[:2]
    draw = np.random.default_rng(0)
    positions = draw.standard_normal((points, 3)).astype(np.float32)
    positions *= draw.random((points, 1), np.float32) ** (1 / 3)
    colors = torch.from_numpy(draw.random((points, 3), np.float32))
    K = torch.tensor([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]])
    views = []
    for index in range(count):
        angle = 2 * math.pi * index / count
        pose = torch.eye(4)
        pose[:3, :3] = torch.tensor(
            [
                [math.cos(angle), 0.0, -math.sin(angle)],
                [0.0, 1.0, 0.0],
                [math.sin(angle), 0.0, math.cos(angle)],
            ]
        )
        pose[2, 3] = 5.0
        camera = Camera(pose, K, width, height, index=index)
        views.append(View(f"{index:05d}.jpg", camera, folder / f"{index:05d}.jpg"))
    known = Points(torch.from_numpy(positions), colors)
    return SceneData(folder, "colmap", tuple(views), (), known)


class Looks:
    """A watcher: the time of each step, and the memory held so far."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.peak = self.rows = 0
        self.last = time.perf_counter()

    def __call__(self, run: Run, step: Step, losses: object, change: object) -> None:
        del step, losses, change
        now = time.perf_counter()
        self.times.append(1e3 * (now - self.last))
        self.last, self.rows = now, len(run.model.cloud)
        self.peak = machine.peak_memory() or 0


def train(folder: Path, count: int, asked: dict[str, Any]) -> dict[str, Any]:
    """Peak memory, predicted and measured, and milliseconds a step, once all photos were seen and
    before (medians)."""
    points, cap, method = asked.pop("points"), asked.pop("cap"), asked.pop("method", "mcmc")
    scene, options = scene_of(folder, count, points), Options(**asked)
    strategy = strategy_from_text(method)
    if options.budget is None and cap:
        strategy = within_budget(strategy, replace(options, budget=str(cap)))
    before = machine.held_memory() or 0
    job = time_budget.prepare_timed(scene, decide(scene, strategy, options))
    looks = Looks()
    session.run_to_end(job, None, Watching(quiet=True), [looks])
    found = {
        "photos": count,
        "rows": looks.rows,
        "before_mb": before / 1e6,
        # Of training alone: nothing is exported or measured here.
        "predicted_mb": (job.plan.total - job.plan.ending) / 1e6,
        "peak_mb": looks.peak / 1e6,
        "plan": job.plan.text(),
        "first_ms": median(looks.times[1:count]),
        "later_ms": median(looks.times[count:] or [0.0]),
        "mean_ms": sum(looks.times[1:]) / max(1, len(looks.times) - 1),
        "held_mb": (machine.held_memory() or 0) / 1e6,
        "size": [job.photos.cameras[0].width, job.photos.cameras[0].height],
    }
    job.close()
    return found


def main() -> None:
    verb, *rest = sys.argv[1:] or [""]
    if verb == "make":
        found = make(Path(rest[0]), int(rest[1]), size_of(rest[2]))
    elif verb == "train":
        found = train(Path(rest[0]), int(rest[1]), json.loads(rest[2]))
    else:
        sys.exit(__doc__)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
