"""Parts of `grow.py` that each have a process of their own; one line of JSON each.

python bench/grow_one.py make FOLDER PHOTOS WIDTH HEIGHT POINTS SEED DISTINCT
                                                                writes a COLMAP scene
python bench/grow_one.py measure FOLDER STEPS THREADS MEMORY SIDE
                                                                trains it, times and weighs
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch

from splat.datasets.colmap_model import POINT
from splat.datasets.tracer import folders
from splat.types import Camera

GROUND = 2048
"""Pixels along a side of the picture on the ground, or the next power of two above photos."""
PITCH = 0.05
"""Metres that one of them covers; photos see one of their own pixels for each."""
WARM_UP = 10
"""Steps that are not counted: caches fill, and pictures for comparison are decoded."""


def ground(seed: int, side: int = GROUND) -> np.ndarray:
    """The picture on the ground: noise with waves of all lengths, RGB."""
    chance = np.random.default_rng(seed)
    picture = np.zeros((side, side, 3), np.float32)
    for size in (8, 32, 128, 512, 1024, 2048):
        noise = chance.random((size, size, 3), np.float32)
        picture += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    low, high = picture.min(), picture.max()
    whole: np.ndarray = np.round((picture - low) / (high - low) * 255).astype(np.uint8)
    return whole


def name_of(index: int) -> str:
    """Of a photo."""
    return f"{index:05d}.jpg"


def make(
    folder: Path, photos: int, width: int, height: int, points: int, seed: int, distinct: int = 0
) -> Any:
    """Write the scene: cameras look straight down, so that photos are crops, exactly. Those beyond
    the first `distinct` (0: none) are the same under names of their own: a decoder's work is the
    same each time, and so is a cache's, which goes by names."""
    side = max(GROUND, 1 << max(width, height).bit_length())
    picture, chance = ground(seed, side), np.random.default_rng([seed, 1])
    folders.make(folder, "images")
    focal, stand = 0.8 * width, []
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    corners = [
        tuple(int(chance.integers(side - each)) for each in (width, height)) for _ in range(photos)
    ]
    for index in range(photos):
        first = index % distinct if distinct else index
        (left, top), path = corners[first], folder / "images" / name_of(index)
        if first < index:
            os.link(folder / "images" / name_of(first), path)
        else:
            folders.save(path, picture[top : top + height, left : left + width])
        # World x to the right, y down the picture, z away from the camera: no turn at all.
        pose = torch.eye(4)
        pose[:3, 3] = -PITCH * torch.tensor([left + width / 2, top + height / 2, -focal])
        stand.append(Camera(pose, K, width, height, index=index))
    rows = np.zeros(points, POINT)
    flat = chance.random((points, 2)) * side
    rows["xyz"][:, :2] = flat * PITCH
    rows["rgb"] = picture[flat[:, 1].astype(int), flat[:, 0].astype(int)]
    folders.write_model(folder / "sparse" / "0", stand, rows, name_of)
    return {"photos": photos}


def measure(
    folder: Path, steps: int, threads: int, memory: int, max_side: int = 0
) -> dict[str, Any]:
    """Train with as many Gaussians as there are points, none born; seconds and bytes."""
    import splat
    from splat.core.strategy import Fixed
    from splat.datasets import load
    from splat.options import Options
    from splat.system import machine

    torch.set_num_threads(threads)
    held, ends = machine.held_memory(), []
    peaks: list[int | None] = []

    def ended(run: object, step: object, losses: object, change: object) -> None:
        del run, step, losses, change
        ends.append(time.perf_counter())
        peaks.append(machine.peak_memory())

    start = time.perf_counter()
    scene = load(folder, eval="none")
    options = Options(
        steps=steps, threads=threads, resolution="full", exposure="off", sky="none",
        device="cpu", memory=memory or None, max_side=max_side or None,
    )  # fmt: skip
    splat.train(scene, Fixed(), options, watchers=[ended], lpips=None)
    spans = [b - a for a, b in pairwise(ends)][WARM_UP:]
    peak = peaks[-1]
    return {
        "photos": len(scene.train),
        "step_ms": median(spans) * 1e3,
        "slowest_ms": max(spans) * 1e3,
        "before_s": ends[0] - start - median(spans),
        "peak_mb": None if peak is None or held is None else (peak - held) / 1e6,
        "held_mb": None if held is None else held / 1e6,
    }


def main() -> None:
    what, folder, *numbers = sys.argv[1:]
    jobs: dict[str, Callable[..., object]] = {"make": make, "measure": measure}
    print(json.dumps(jobs[what](Path(folder), *map(int, numbers))))


if __name__ == "__main__":
    main()
