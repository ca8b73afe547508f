"""What dreams of words come to: by geometry, not by a classifier.

Twelve texts of a large plain thing, of shapes and colours that a teacher knows, are dreamt by
`splat dream`, and what comes is held against the thing that is meant: whether of all colours the
word's is the nearest, overlap of solids at the best of turns, and whether holes are open.

    python bench/dreamt.py teacher/ dreams/ [--count 12] [--seed 0] [--json] [-- OPTIONS OF DREAM]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from common import markdown
from generated import GRID, TURNS, characteristic, nearest_colour, overlap, solid
from jaxtyping import Bool
from numpy import ndarray
from scipy import ndimage

from splat import cli, formats
from splat.datasets.objects import surface
from splat.datasets.objects.shapes import OPEN
from splat.datasets.objects.words import Thing
from splat.dream import tutor
from splat.generate.field import points
from splat.generate.words import Vocabulary
from splat.math import SH_C0, rotation_matrices
from splat.types import Gaussians

SOLID = 0.5
"""Share of light that is stopped at a point from which it is of the solid."""
OVERLAP = 0.6
FAR = 3.0
"""Standard deviations beyond which a Gaussian stops nothing."""


@dataclass(frozen=True)
class Judged:
    """What is found of one dream."""

    text: str
    colour: bool
    overlap: float
    opened: bool | None
    """Whether a hole is open; None: it is to have none."""
    seconds: float


def filled(gaussians: Gaussians, grid: int = GRID) -> Bool[ndarray, "x y z"]:
    """Points of the cube where Gaussians stop half of what would pass, 1 - prod (1 - a_i g_i), and
    what these close off."""
    at, left = points(grid).reshape(grid, grid, grid, 3), np.zeros((grid, grid, grid))
    turns = rotation_matrices(torch.nn.functional.normalize(gaussians.quats, dim=1)).numpy()
    means, scales = gaussians.means.numpy(), gaussians.scales.numpy()
    for mean, scale, turn, opacity in zip(
        means, scales, turns, gaussians.opacities.tolist(), strict=True
    ):
        reach = FAR * scale.max()
        low = np.ceil((mean - reach + 0.5) * (grid - 1)).astype(int).clip(0, grid)
        high = np.floor((mean + reach + 0.5) * (grid - 1)).astype(int).clip(-1, grid - 1) + 1
        part = tuple(slice(one, other) for one, other in zip(low, high, strict=True))
        off = (at[part] - mean) @ turn / scale
        stopped = opacity * np.exp(-0.5 * np.square(off).sum(-1))
        left[part] += np.log1p(-np.minimum(stopped, 0.999))
    body = left < math.log(1 - SOLID)
    whole: Bool[ndarray, "x y z"] = ndimage.binary_fill_holes(body)
    return whole


def judged(gaussians: Gaussians, thing: Thing, text: str, seconds: float) -> Judged:
    """A dream held against the thing that was meant."""
    body, best = filled(gaussians), 0.0
    for turn in range(TURNS):
        truth = surface.of_thing(replace(thing, yaw=2 * math.pi * turn / TURNS))
        best = max(best, overlap(body, solid(truth.means)))
    # As they are seen: by opacity and area.
    weight = gaussians.opacities * gaussians.scales.sort(1).values[:, 1:].prod(1)
    rgb = (0.5 + SH_C0 * gaussians.colors[:, 0]).clamp(0, 1)
    mean = ((weight[:, None] * rgb).sum(0) / weight.sum()).double().numpy()
    opened = characteristic(body) <= 0 if thing.shape in OPEN else None
    return Judged(text, nearest_colour(mean, thing) == thing.colour, best, opened, seconds)


def things(vocabulary: Vocabulary, count: int) -> list[tuple[str, Thing]]:
    """Texts and what they mean: shapes by turns, each time with the next colour."""
    shapes, colours = (
        [word for word in vocabulary.properties[name] if word] for name in ("shape", "colour")
    )
    made = []
    for i in range(count):
        shape = shapes[i % len(shapes)]
        colour = colours[(i + i // len(shapes)) % len(colours)]
        thing = Thing(shape, "large", "", colour, "", "", 0.0, (0.0,) * 5)
        made.append((thing.text(sized="large" in vocabulary.words), thing))
    return made


def summary(found: Sequence[Judged]) -> Mapping[str, float | None]:
    """Shares of what is right."""
    holes = [each.opened for each in found if each.opened is not None]
    return {
        "colour right": float(np.mean([each.colour for each in found])),
        "IoU 0.6 or more": float(np.mean([each.overlap >= OVERLAP for each in found])),
        "median IoU": float(np.median([each.overlap for each in found])),
        "holes open": float(np.mean(holes)) if holes else None,
        "seconds each": float(np.mean([each.seconds for each in found])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    asked, more = parser.parse_args(words[:cut]), words[cut + 1 :]
    found = []
    asked.out.mkdir(parents=True, exist_ok=True)
    asked_for = things(tutor.read(asked.teacher).vocabulary, asked.count)
    for place, (text, thing) in enumerate(asked_for):
        out, begun = asked.out / f"{'-'.join(text.split())}.ply", time.monotonic()
        told = ["-o", str(out), "--teacher", str(asked.teacher), "--seed", str(asked.seed + place)]
        if code := cli.main(["dream", text, *told, "--overwrite", "--quiet", *more]):
            sys.exit(code)
        found.append(judged(formats.read(out), thing, text, time.monotonic() - begun))
    figures = summary(found)
    if asked.json:
        print(json.dumps({**figures, "each": [vars(each) for each in found]}, indent=1))
        return
    told_of = [(name, "" if v is None else f"{v:.3g}") for name, v in figures.items()]
    print(markdown(("of dreams", ""), told_of))
    rows = []
    for each in found:
        opened = "" if each.opened is None else str(each.opened)
        rows.append((each.text, str(each.colour), f"{each.overlap:.2f}", opened))
    print(markdown(("text", "colour", "IoU", "open"), rows))


if __name__ == "__main__":
    main()
