"""What a generator makes of words that never came together: by geometry, not by a classifier.

Of each held-out thing of a corpus its text is given to the generator, and what comes is held
against the thing itself: whether of all colours the word's is the nearest; size; overlap of solids,
at the best of turns and sizes; whether holes are open; how near its field is to any that was
learned from. With --truth the things themselves are judged: what the figures are at best.

    python bench/generated.py things/ model/ [--count 200] [--seed 0] [--json] [--truth]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from common import markdown
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage
from scipy.spatial import cKDTree

from splat.datasets.objects import files, surface
from splat.datasets.objects.shapes import OPEN
from splat.datasets.objects.words import COLOURS, Thing
from splat.generate.field import field_of, points
from splat.generate.store import Trained, read
from splat.math import SH_C0

GRID = 40
"""Points along an edge of the cube in which solids are told."""
WALL = 0.9
"""Cells of the corpus' grid from a Gaussian within which a point is wall."""
TURNS, SIZES = 24, (0.94, 1.0, 1.06)
"""Turns about z, and sizes, at the best of which solids are compared."""
NEAR_SIZE, OVERLAP = 0.15, 0.7
OF = ("colour right", "size within 15 %", "IoU 0.7 or more", "holes open")


@dataclass(frozen=True)
class Judged:
    """What is found of one generated thing."""

    text: str
    colour: bool
    size: float
    """Largest extent over the thing's own."""
    overlap: float
    opened: bool | None
    """Whether a hole is open; None: it is to have none."""
    nearest: float
    """Root mean square from its field to the nearest that was learned from."""
    usual: float
    """The same, of the held-out thing itself."""


def solid(means: Float[ndarray, "n 3"], grid: int = GRID) -> Bool[ndarray, "x y z"]:
    """What is not outside of a shell of Gaussians: walls, and all that they close off."""
    far, _ = cKDTree(means).query(points(grid))
    walls = np.pad((far < WALL * surface.CELL).reshape(grid, grid, grid), 1)
    whole: Bool[ndarray, "x y z"] = ndimage.binary_fill_holes(walls)[1:-1, 1:-1, 1:-1]
    return whole


def characteristic(body: Bool[ndarray, "x y z"]) -> int:
    """Euler's characteristic of the largest piece of a solid, as a complex of closed cubes: 1 of a
    ball, 0 with one hole through it."""
    pieces, count = ndimage.label(body, np.ones((3, 3, 3)))
    if not count:
        return 0
    sizes = np.bincount(pieces.ravel())[1:]
    cubes = np.pad(pieces == 1 + int(sizes.argmax()), 1)
    total = 0
    for axes in range(8):
        # Cells that are flat along some axes: there if any cube beside them is.
        cells, flat = cubes, 0
        for axis in range(3):
            if axes >> axis & 1:
                before = [slice(None)] * 3
                after = [slice(None)] * 3
                before[axis], after[axis] = slice(None, -1), slice(1, None)
                cells = cells[tuple(before)] | cells[tuple(after)]
                flat += 1
        total += (-1) ** (3 - flat) * int(cells.sum())
    return total


def overlap(one: Bool[ndarray, "x y z"], other: Bool[ndarray, "x y z"]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max(int((one | other).sum()), 1))


def best_overlap(means: Float[ndarray, "n 3"], thing: Thing) -> float:
    """Overlap with a thing, at the best of turns and sizes; generated ones may be any of them."""
    found, best = solid(means), 0.0
    for factor in SIZES:
        for turn in range(TURNS):
            yaw = 2 * math.pi * turn / TURNS
            jitter = ((factor - 1) / 0.06, 0.0, 0.0, 0.0, 0.0)
            truth = surface.of_thing(replace(thing, yaw=yaw, jitter=jitter))
            best = max(best, overlap(found, solid(truth.means)))
    return best


def extent(means: Float[ndarray, "n 3"]) -> float:
    """Largest extent about the axis z: twice the radius, or the height."""
    radius = np.linalg.norm(means[:, :2] - np.median(means[:, :2], axis=0), axis=1)
    low, high = np.quantile(means[:, 2], (0.01, 0.99))
    return float(max(2 * np.quantile(radius, 0.99), high - low))


def nearest_colour(rgb: Float[ndarray, "3"], thing: Thing) -> str:
    """The word of all colours in which things of these words are nearest to a mean colour."""
    plain = replace(thing, jitter=(0.0,) * 5)
    means = {word: surface.of_thing(replace(plain, colour=word)).rgb.mean(0) for word in COLOURS}
    return min(means, key=lambda word: float(np.square(means[word] - rgb).sum()))


def generated(
    trained: Trained, text: str, seed: int
) -> tuple[Float[ndarray, "n 3"], Float[ndarray, "n 3"]]:
    """Means and colours of what the generator makes of a text."""
    made = trained(text, seed=seed)
    rgb = (0.5 + SH_C0 * made.colors[:, 0]).clamp(0, 1).double().numpy()
    return made.means.double().numpy(), rgb


def judged(
    means: Float[ndarray, "n 3"],
    rgb: Float[ndarray, "n 3"],
    text: str,
    thing: Thing,
    learned: Float[ndarray, "m v"],
) -> Judged:
    """What was made of a text, held against a thing of it; `learned` are fields, flat."""
    middle = replace(thing, jitter=(0.0,) * 5)
    truth = surface.of_thing(middle).means
    grid = round(learned.shape[1] ** (1 / 3))

    def nearest(own: Float[ndarray, "n 3"]) -> float:
        field = field_of(own, grid).numpy().ravel()
        return float(np.sqrt(np.square(learned - field).mean(1).min()))

    return Judged(
        text,
        nearest_colour(rgb.mean(0), thing) == thing.colour,
        extent(means) / extent(truth),
        best_overlap(means, middle),
        characteristic(solid(means)) <= 0 if thing.shape in OPEN else None,
        nearest(means),
        nearest(surface.of_thing(thing).means),
    )


def summary(found: Sequence[Judged]) -> Mapping[str, float | None]:
    """Shares of what is right, and how near to what was learned generated things are."""
    holes = [each.opened for each in found if each.opened is not None]
    far = float(np.median([each.nearest for each in found]))
    return {
        OF[0]: float(np.mean([each.colour for each in found])),
        OF[1]: float(np.mean([abs(each.size - 1) <= NEAR_SIZE for each in found])),
        OF[2]: float(np.mean([each.overlap >= OVERLAP for each in found])),
        OF[3]: float(np.mean(holes)) if holes else None,
        "median IoU": float(np.median([each.overlap for each in found])),
        "nearest learned, over held-out": far / float(np.median([each.usual for each in found])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truth", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    corpus, trained = files.read(asked.corpus), read(asked.model)
    grid = trained.design.geometry.grid
    learned = np.stack(
        [field_of(corpus.means(i), grid).numpy().ravel() for i in corpus.numbers("train")]
    ).astype(np.float32)
    found, missing, begun = [], 0, time.monotonic()
    torch.set_num_threads(1)
    for place, number in enumerate(corpus.numbers("test")[: asked.count]):
        text, thing = corpus.texts[number], corpus.thing(number)
        # A text without a size may mean any: it is asked with the thing's own.
        text = text if thing.size in text.split() else thing.text()
        try:
            if asked.truth:
                truth = surface.of_thing(thing)
                made = truth.means, truth.rgb
            else:
                made = generated(trained, text, asked.seed + place)
            found.append(judged(*made, text, thing, learned))
        except ValueError as error:  # nothing was drawn
            missing += 1
            print(error)
    figures = {"things": len(found), "empty": missing, **summary(found)}
    if asked.json:
        print(json.dumps({**figures, "each": [vars(each) for each in found]}, indent=1))
    else:
        rows = [(name, "" if v is None else f"{v:.3g}") for name, v in figures.items()]
        print(markdown(("of held-out words", ""), rows))
        print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
