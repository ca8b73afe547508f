"""Learning to make things of words, in four stages, each resumed to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional as F

from splat.datasets.objects import surface
from splat.datasets.objects.files import Corpus
from splat.generate.attributes import FARTHEST, Attributes
from splat.generate.choices import Taught
from splat.generate.course import Course, Draw, Stage
from splat.generate.field import field_of
from splat.generate.sizes import Sizes, between
from splat.generate.store import Design, Trained
from splat.generate.surface import Surface, near
from splat.generate.words import Speaker

THINGS, PLACES = 64, 32
"""Things of a step of the second stage, and places of each that it asks: neighbours tell the same,
so many things a little each."""
TEXTS = 128
"""Texts of a step of the fourth."""
SHOWN = 768
"""Gaussians of a thing whose looks a step of the third stage asks."""
ASIDE = 0.1
"""Standard deviation, in cells along each axis, by which they are asked beside their place."""
BLUR = 0.02
"""Noise on fields of the later stages, which get to see drawn ones in the end."""
PART = 2
"""Things of a step whose gradients are found together."""
QUICKER = 4.0
"""Times the learning rate of the others that the second stage has."""
WEIGHTS = {"there": 0.2, "offset": 1.0, "root": 0.5, "rgb": 10.0, "opacity": 1.0}
"""Of the terms of the later stages."""


@dataclass(frozen=True)
class Lessons:
    """What is learned from, prepared: texts as numbers and fields of things."""

    corpus: Corpus
    things: tuple[int, ...]
    numbers: Int[Tensor, "n t"]
    fields: Float[Tensor, "n x y z"]
    """float16."""
    edges: Float[Tensor, "n"]
    """Of the cubes about things."""
    near: tuple[tuple[Int[ndarray, "m"], Int[ndarray, "m"]], ...]
    """Of each thing the places near its surface, and its Gaussian that is there, or nearest."""

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        vocabulary: Speaker,
        design: Design,
        split: str,
        shown: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> Lessons:
        """Those of a split; `shown` may show how far it is."""
        things = tuple(corpus.numbers(split))
        texts = [vocabulary.read(corpus.texts[i]) for i in things]
        grid = design.geometry.grid
        fields = torch.empty(len(things), grid, grid, grid, dtype=torch.float16)
        close = []
        for row, i in enumerate(shown(things)):
            fields[row] = field = field_of(corpus.means(i), grid)
            slots = corpus.rows(i)["slot"]
            close.append(_close(field, slots, corpus.means(i), corpus.grid))
        edges = torch.tensor([corpus.cubes[i].edge for i in things])
        return cls(corpus, things, vocabulary.numbers(texts), fields, edges, tuple(close))

    def __len__(self) -> int:
        return len(self.things)


class Learning(Course):
    """A training of the stages, one after the other."""

    def __init__(
        self,
        lessons: Lessons,
        design: Design,
        vocabulary: Speaker,
        taught: Taught,
        threads: int = 1,
    ) -> None:
        """With so many threads, on whose number nothing depends."""
        self.design, self.taught = design, taught
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(taught.seed)
            made = Trained(design, vocabulary)
        stages = (
            Stage("geometry", made.geometry, taught.steps, taught.rate),
            Stage("surface", made.surface, taught.surface_steps, QUICKER * taught.rate),
            Stage("attributes", made.attributes, taught.attribute_steps, taught.rate),
            Stage("size", made.size, taught.size_steps, taught.rate),
        )
        super().__init__("generator", stages, lessons, taught.seed, taught.batch, threads)

    def rows(self, stage: Stage, draw: Draw) -> Sequence[Int[Tensor, "b"]]:
        few = (self.taught.batch, PART)
        many, part = {"surface": (THINGS, THINGS // 4), "size": (TEXTS, TEXTS)}.get(stage.name, few)
        things: Tensor = torch.randperm(len(self.lessons), generator=draw("things"))[:many]
        return list(things.split(part))

    def loss(
        self,
        stage: Stage,
        module: nn.Module,
        lessons: Lessons,
        rows: Int[Tensor, "b"],
        draw: Draw,
    ) -> Float[Tensor, ""]:
        losses = {
            "geometry": self.field_loss,
            "surface": self.surface_loss,
            "attributes": self.attribute_loss,
            "size": self.size_loss,
        }
        return losses[stage.name](module, lessons, rows, draw)

    def field_loss(
        self,
        module: nn.Module,
        lessons: Lessons,
        rows: Int[Tensor, "b"],
        draw: Draw,
    ) -> Float[Tensor, ""]:
        """Squared error of what is said of noisy fields; things are turned and mirrored, for which
        no word changes, and some texts left out."""
        chance = draw("turns")
        fields = lessons.fields[rows].float()
        fields = torch.stack([_turned(each, chance) for each in fields])[:, None]
        process, many = self.design.drawing(), len(rows)
        times = process.times(many, draw("times"))
        noise = torch.randn(fields.shape, generator=draw("noise"))
        left_out = torch.rand(many, generator=draw("dropped")) < self._dropped
        numbers = lessons.numbers[rows].masked_fill(left_out[:, None], 0)
        said = module(process.noisy(fields, noise, times), numbers, times)
        loss: Tensor = (said - process.target(fields, noise, times)).square().mean()
        return loss

    def surface_loss(
        self,
        module: nn.Module,
        lessons: Lessons,
        rows: Int[Tensor, "b"],
        draw: Draw,
    ) -> Float[Tensor, ""]:
        """Errors of what is said of places near surfaces: whether there is a Gaussian, and where
        and how wide it is, or the nearest one is: a place that is taken for another is then on the
        surface, too."""
        assert isinstance(module, Surface)
        grid, chance = lessons.corpus.grid, draw("places")
        asked, truths = [], []
        for row in rows.tolist():
            picked, truth = _truth(lessons, row, chance)
            asked.append(picked)
            truths.append(truth)
        places = torch.from_numpy(surface.places(np.stack(asked), grid)).float()
        # bfloat16 is too coarse for where things are.
        with torch.autocast("cpu", enabled=False):
            said = module(_blurred(lessons.fields[rows], draw), places)
        truth = torch.stack(truths)
        terms = {
            "there": F.binary_cross_entropy_with_logits(said[..., 0], truth[..., 0]),
            # The median, where two surfaces are as near: between them there is none.
            "offset": (said[..., 1:4] - truth[..., 1:4]).abs().mean(),
            "root": (said[..., 4:] - truth[..., 4:]).square().mean(),
        }
        return torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()

    def attribute_loss(
        self,
        module: nn.Module,
        lessons: Lessons,
        rows: Int[Tensor, "b"],
        draw: Draw,
    ) -> Float[Tensor, ""]:
        """Squared errors of colours and opacities where Gaussians are."""
        assert isinstance(module, Attributes)
        corpus, chance = lessons.corpus, draw("places")
        asked, truths = [], []
        for row in rows.tolist():
            number = lessons.things[row]
            own, means = corpus.rows(number), torch.from_numpy(corpus.means(number))
            picked = torch.randint(len(means), (SHOWN,), generator=chance)
            aside = torch.randn(SHOWN, 3, generator=chance, dtype=torch.float64)
            asked.append((means[picked] + corpus.cell * ASIDE * aside).float())
            looks = np.concatenate([own["rgb"], own["opacity"][:, None]], axis=1)
            truths.append(torch.from_numpy(looks).float()[picked])
        fields = _blurred(lessons.fields[rows], draw)
        said = module(fields, lessons.numbers[rows], torch.stack(asked)).sigmoid()
        off = (said - torch.stack(truths)).square()
        loss: Tensor = (
            WEIGHTS["rgb"] * off[..., :3].mean() + WEIGHTS["opacity"] * off[..., 3].mean()
        )
        return loss

    def size_loss(
        self,
        module: nn.Module,
        lessons: Lessons,
        rows: Int[Tensor, "b"],
        draw: Draw,
    ) -> Float[Tensor, ""]:
        """Cross entropy of what texts say of sizes."""
        assert isinstance(module, Sizes)
        truth = between(lessons.edges[rows], *self.design.edges)
        return F.cross_entropy(module(lessons.numbers[rows]).float(), truth)

    def networks(self) -> dict[str, Mapping[str, Tensor]]:
        """The running means, as a generator has them."""
        return {stage.name: stage.average.state_dict() for stage in self.stages}

    @property
    def _dropped(self) -> float:
        return self.taught.dropped if self.design.guidance != 1 else 0.0


def _turned(field: Float[Tensor, "x y z"], chance: torch.Generator) -> Float[Tensor, "x y z"]:
    """A field turned about z by quarters, or mirrored."""
    flips = torch.rand(3, generator=chance) < 0.5
    field = field.flip(0) if flips[0] else field
    field = field.flip(1) if flips[1] else field
    return field.transpose(0, 1) if flips[2] else field


def _blurred(fields: Float[Tensor, "b x y z"], draw: Draw) -> Float[Tensor, "b x y z"]:
    return fields.float() + BLUR * torch.randn(fields.shape, generator=draw("blur"))


def _close(
    field: Float[Tensor, "x y z"],
    slots: Int[ndarray, "m"],
    means: Float[ndarray, "m 3"],
    grid: int,
) -> tuple[Int[ndarray, "n"], Int[ndarray, "n"]]:
    """Places near the surface of a thing, and which of its Gaussians is there, or nearest."""
    there = np.full(grid**3, -1)
    there[slots] = np.arange(len(slots))
    close = np.flatnonzero(near(field[None], grid)[0].numpy() | (there >= 0))
    _, nearest = cKDTree(means).query(surface.places(close, grid))
    own = np.where(there[close] >= 0, there[close], nearest)
    return close.astype(np.int32), own.astype(np.int32)


def _truth(
    lessons: Lessons, row: int, chance: torch.Generator
) -> tuple[Int[ndarray, "n"], Float[Tensor, "n 10"]]:
    """Some places near the surface of a thing, and what is to be said of them, as
    `surface.NUMBERS` has it."""
    close, own = lessons.near[row]
    some = torch.randint(len(close), (PLACES,), generator=chance).numpy()
    picked, corpus = close[some], lessons.corpus
    rows, means = corpus.rows(lessons.things[row]), corpus.means(lessons.things[row])
    which = own[some]
    offset = (means[which] - surface.places(picked, corpus.grid)) / corpus.cell
    columns = (
        (rows["slot"][which] == picked)[:, None], offset.clip(-FARTHEST, FARTHEST),
        rows["root"][which],
    )  # fmt: skip
    return picked, torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))
