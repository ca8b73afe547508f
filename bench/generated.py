"""What a generator makes of words that never came together: by geometry, not by a classifier.

Of each held-out thing of a corpus its text is given to the generator, and what comes is held
against the thing itself: whether of all colours the word's is the nearest; size; overlap of solids,
at the best of turns and sizes; whether holes are open, and, as a shell with gaps has some, too, how
many of the things without one have none; how near its field is to any that was learned from. With
--truth the things themselves are judged: what the figures are at best. With the weights of LPIPS
there is a kernel distance of pictures, too (KID, Binkowski et al. 2018, of the means of AlexNet's
last layer), beside that of as many things that were learned from.

    python bench/generated.py things/ model/ [--count 200] [--seed 0] [--guidance 2] [--json]
        [--truth]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from common import markdown
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from splat.datasets.objects import files, surface
from splat.datasets.objects.shapes import OPEN
from splat.datasets.objects.words import COLOURS, Thing
from splat.dream.distill import Ball
from splat.dream.orbit import Orbit
from splat.dream.pictures import gaussians_in
from splat.evaluation.lpips import Lpips, find_weights
from splat.generate.field import field_of, points
from splat.generate.store import read
from splat.math import SH_C0
from splat.render import renderer_for
from splat.system import machine
from splat.types import Gaussians, Needs

GRID = 40
"""Points along an edge of the cube in which solids are told."""
WALL = 1.0
"""Cells of the corpus' grid from a Gaussian within which a point is wall: of 30 true things with a
hole all are open so, and of 70 without one none has one (three by 0.9, along edges)."""
TURNS, SIZES = 24, (0.94, 1.0, 1.06)
"""Turns about z, and sizes, at the best of which solids are compared."""
NEAR_SIZE, OVERLAP = 0.15, 0.7
PICTURE = 96
"""Pixels along a side of what the network looks at."""
OF = ("colour right", "size within 15 %", "IoU 0.7 or more", "holes open", "no hole of others")


@dataclass(frozen=True)
class Judged:
    """What is found of one generated thing."""

    text: str
    colour: bool
    size: float
    """Largest extent over the thing's own."""
    overlap: float
    holed: bool
    """Whether the thing has a hole."""
    opened: bool
    """Whether one is open in what was made."""
    nearest: float
    """Root mean square from its field to the nearest that was learned from."""
    usual: float
    """The same, of the held-out thing itself."""


def solid(means: Float[ndarray, "n 3"]) -> Bool[ndarray, "x y z"]:
    """What is not outside of a shell of Gaussians: walls, and all that they close off."""
    far, _ = cKDTree(means).query(points(GRID))
    walls = np.pad((far < WALL * surface.CELL).reshape(GRID, GRID, GRID), 1)
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
    """Overlap with a thing, in the frame of its cube, at the best of turns and then of sizes;
    generated ones may be any."""
    found = solid(means)

    def turned(turn: int) -> Bool[ndarray, "x y z"]:
        return solid(_true(replace(thing, yaw=2 * math.pi * turn / TURNS)).means)

    truth = max(map(turned, range(TURNS)), key=lambda truth: overlap(found, truth))
    return max(overlap(solid(means / factor), truth) for factor in SIZES)


def _true(thing: Thing) -> surface.Surface:
    """A thing in the frame of its cube."""
    return surface.of_thing(thing, surface.Cube.about(thing))


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


def kid(one: Float[Tensor, "n c"], other: Float[Tensor, "m c"]) -> float:
    """Squared maximum mean discrepancy of two sets of features, without bias, of the kernel
    (x.y / c + 1)^3: around 0 where both are drawn alike."""

    def likeness(x: Tensor, y: Tensor) -> Tensor:
        return (x.double() @ y.double().T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        all_ = likeness(x, x)
        return (all_.sum() - all_.trace()) / (len(x) * (len(x) - 1))

    return float(within(one) + within(other) - 2 * likeness(one, other).mean())


class Eye:
    """Features of pictures of things, each from a side of its own."""

    def __init__(self) -> None:
        self._network, self._render = Lpips("alex"), renderer_for("cpu")
        self._orbit = Orbit(Ball(), PICTURE, 0)

    @torch.no_grad()
    def __call__(self, gaussians: Gaussians, place: int) -> Float[Tensor, "c"]:
        white, camera = torch.ones(3), self._orbit.camera(place)
        image = self._render(gaussians, camera, Needs(), white).image
        *_, last = self._network.features(image)
        return last[0].mean((1, 2))


def judged(
    gaussians: Gaussians,
    edge: float,
    text: str,
    thing: Thing,
    learned: Float[ndarray, "m v"],
) -> Judged:
    """What was made of a text, about the origin in a cube of this edge, held against a thing of it;
    `learned` are fields of things about the origin, as large as they are, flat."""
    rgb = (0.5 + SH_C0 * gaussians.colors[:, 0]).clamp(0, 1).double().numpy()
    middle = replace(thing, jitter=(0.0,) * 5)
    means = gaussians.means.double().numpy()
    own, framed = means / edge, means / surface.Cube.about(middle).edge
    grid = round(learned.shape[1] ** (1 / 3))

    def nearest(placed: Float[ndarray, "n 3"]) -> float:
        field = field_of(placed, grid).numpy().ravel()
        return float(np.sqrt(np.square(learned - field).mean(1).min()))

    return Judged(
        text,
        nearest_colour(rgb.mean(0), thing) == thing.colour,
        extent(framed) / extent(_true(middle).means),
        best_overlap(framed, middle),
        thing.shape in OPEN,
        characteristic(solid(own)) <= 0,
        nearest(means),
        nearest(surface.Cube.about(thing).edge * _true(thing).means),
    )


def summary(found: Sequence[Judged]) -> Mapping[str, float | None]:
    """Shares of what is right, and how near to what was learned generated things are."""
    holes = [each.opened for each in found if each.holed]
    closed = [not each.opened for each in found if not each.holed]
    far = float(np.median([each.nearest for each in found]))
    return {
        OF[0]: float(np.mean([each.colour for each in found])),
        OF[1]: float(np.mean([abs(each.size - 1) <= NEAR_SIZE for each in found])),
        OF[2]: float(np.mean([each.overlap >= OVERLAP for each in found])),
        OF[3]: float(np.mean(holes)) if holes else None,
        OF[4]: float(np.mean(closed)) if closed else None,
        "median IoU": float(np.median([each.overlap for each in found])),
        "nearest learned, over held-out": far / float(np.median([each.usual for each in found])),
    }


class Judge:
    """What judges things of held-out texts, one by one, in a process of its own."""

    def __init__(self, asked: argparse.Namespace) -> None:
        torch.set_num_threads(1)
        self.asked, self.corpus, self.trained = asked, files.read(asked.corpus), read(asked.model)
        if asked.guidance is not None:
            self.trained.design = replace(self.trained.design, guidance=asked.guidance)
        grid = self.trained.design.geometry.grid
        things = self.corpus.numbers("train")
        own = [self.corpus.cubes[i].edge * self.corpus.means(i) for i in things]
        fields = [field_of(means, grid).numpy().ravel() for means in own]
        self.learned = np.stack(fields).astype(np.float32)
        self.eye = Eye() if find_weights("alex") else None
        self.tests = self.corpus.numbers(asked.split)[: asked.count]
        self.shown = things[:: max(1, len(things) // len(self.tests))][: len(self.tests)]

    def __call__(self, place: int) -> tuple[Judged | str, dict[str, Tensor]]:
        """What is found of a text, or why nothing came; with weights of LPIPS, features of what was
        made, of the thing itself, and of one that was learned from."""
        number = self.tests[place]
        text, thing = self.corpus.texts[number], self.corpus.thing(number)
        own = self.centred(number)
        # A text without a size may mean any: it is asked with the thing's own.
        text = text if thing.size in text.split() else thing.text()
        try:
            made, edge = own, self.corpus.cubes[number].edge
            if not self.asked.truth:
                made, edge = self.made(text, self.asked.seed + place)
            found = judged(made, edge, text, thing, self.learned)
        except ValueError as error:  # nothing was drawn
            return str(error), {}
        if self.eye is None:
            return found, {}
        learned = self.centred(self.shown[place % len(self.shown)])
        return found, {
            "made": self.eye(made, place),
            "held out": self.eye(own, len(self.tests) + place),
            "learned": self.eye(learned, place),
        }

    def made(self, text: str, seed: int) -> tuple[Gaussians, float]:
        """What is made of a text, and the edge of the cube that it is to fill."""
        speaker = self.trained.speaker
        numbers = speaker.numbers([speaker.read(text)])
        return self.trained(text, seed=seed), self.trained.edge(numbers, seed)

    def centred(self, number: int) -> Gaussians:
        """One thing of the corpus about the origin, as generated ones are."""
        found = gaussians_in(self.corpus, number)
        return replace(found, means=found.means - torch.tensor(self.corpus.cubes[number].centre))


_judge: Judge


def _begin(asked: argparse.Namespace) -> None:
    global _judge
    _judge = Judge(asked)


def _judged(place: int) -> tuple[Judged | str, dict[str, Tensor]]:
    return _judge(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance", type=float, default=None, help="other than it was made for")
    parser.add_argument("--split", default="test", help="train: by texts that it learned from")
    parser.add_argument("--truth", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked, begun = parser.parse_args(), time.monotonic()
    count = min(asked.count, len(files.read(asked.corpus).numbers(asked.split)))
    with ProcessPoolExecutor(machine.cores(), initializer=_begin, initargs=(asked,)) as pool:
        each = list(pool.map(_judged, range(count)))
    found = [one for one, _ in each if isinstance(one, Judged)]
    missing = [one for one, _ in each if isinstance(one, str)]
    print(*missing, sep="\n", end="\n" if missing else "")
    figures = {"things": len(found), "empty": len(missing), **summary(found)}
    seen = [features for _, features in each if features]
    if seen:
        of = {name: torch.stack([one[name] for one in seen]) for name in seen[0]}
        figures["KID"] = kid(of["made"], of["held out"])
        figures["KID of what was learned"] = kid(of["learned"], of["held out"])
    if asked.json:
        print(json.dumps({**figures, "each": [vars(one) for one in found]}, indent=1))
    else:
        rows = [(name, "" if v is None else f"{v:.3g}") for name, v in figures.items()]
        print(markdown(("of held-out words", ""), rows))
        print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
