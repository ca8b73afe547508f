"""Learning to make things of words: both stages, each resumed to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from splat.datasets.objects.files import Corpus
from splat.generate.attributes import Attributes, near
from splat.generate.choices import Taught
from splat.generate.course import Course, Draw, Stage
from splat.generate.field import field_of, points
from splat.generate.store import Design, Trained
from splat.generate.words import Speaker

ASKED = 768
"""Places of a thing that a step of the second stage asks."""
BLUR = 0.04
"""Noise on fields of the second stage, which gets to see drawn ones later."""
PART = 2
"""Things of a step whose gradients are found together."""
WEIGHTS = {"there": 1.0, "offset": 0.5, "root": 1.0, "rgb": 10.0, "opacity": 1.0}
"""Of the terms of the second stage."""


@dataclass(frozen=True)
class Lessons:
    """What is learned from, prepared: texts as numbers and fields of things."""

    corpus: Corpus
    things: tuple[int, ...]
    numbers: Int[Tensor, "n t"]
    fields: Float[Tensor, "n x y z"]
    """float16."""

    @classmethod
    def of(cls, corpus: Corpus, vocabulary: Speaker, design: Design, split: str) -> Lessons:
        """Those of a split."""
        things = tuple(corpus.numbers(split))
        texts = [vocabulary.read(corpus.texts[i]) for i in things]
        grid = design.geometry.grid
        fields = torch.empty(len(things), grid, grid, grid, dtype=torch.float16)
        for row, i in enumerate(things):
            fields[row] = field_of(corpus.means(i), grid)
        return cls(corpus, things, vocabulary.numbers(texts), fields)

    def __len__(self) -> int:
        return len(self.things)


class Learning(Course):
    """A training of both stages, one after the other."""

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
            Stage("attributes", made.attributes, taught.attribute_steps, taught.rate),
        )
        super().__init__("generator", stages, lessons, taught.seed, taught.batch, threads)

    def rows(self, draw: Draw) -> Sequence[Int[Tensor, "b"]]:
        many = min(self.taught.batch, len(self.lessons))
        things: Tensor = torch.randperm(len(self.lessons), generator=draw("things"))[:many]
        return list(things.split(PART))

    def loss(
        self,
        stage: Stage,
        module: nn.Module,
        lessons: Lessons,
        rows: Int[Tensor, "b"],
        draw: Draw,
    ) -> Float[Tensor, ""]:
        lesson = self.field_loss if stage is self.stages[0] else self.attribute_loss
        return lesson(module, lessons, rows, draw)

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

    def attribute_loss(
        self,
        module: nn.Module,
        lessons: Lessons,
        rows: Int[Tensor, "b"],
        draw: Draw,
    ) -> Float[Tensor, ""]:
        """Errors of what is said of places near surfaces: whether there is a Gaussian, and what it
        is where there is one."""
        assert isinstance(module, Attributes)
        fields = lessons.fields[rows].float()
        fields = fields + BLUR * torch.randn(fields.shape, generator=draw("blur"))
        grid, chance = lessons.corpus.grid, draw("places")
        asked, truths = [], []
        for row, close in zip(rows.tolist(), near(fields, grid), strict=True):
            truth = _truth(lessons.corpus, lessons.things[row])
            candidates = (close | (truth[:, 0] > 0)).nonzero().squeeze(1)
            picked = torch.randint(len(candidates), (ASKED,), generator=chance)
            asked.append(candidates[picked])
            truths.append(truth[candidates[picked]])
        places = torch.from_numpy(points(grid)).float()[torch.stack(asked)]
        said, truth = module(fields, lessons.numbers[rows], places), torch.stack(truths)
        there = truth[..., 0]
        count = there.sum().clamp_min(1)

        def over(error: Tensor) -> Tensor:
            """The mean over what is there."""
            return (error.mean(-1) * there).sum() / count

        terms = {
            "there": F.binary_cross_entropy_with_logits(said[..., 0], there),
            "offset": over((said[..., 1:4] - truth[..., 1:4]).square()),
            "root": over((said[..., 4:10] - truth[..., 4:10]).square()),
            "rgb": over((said[..., 10:13].sigmoid() - truth[..., 10:13]).square()),
            "opacity": over((said[..., 13:].sigmoid() - truth[..., 13:]).square()),
        }
        return torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()

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


def _truth(corpus: Corpus, number: int) -> Float[Tensor, "n 14"]:
    """What is to be said of every place of the grid, as `attributes.NUMBERS` has it."""
    rows = corpus.rows(number)
    whole = np.zeros((corpus.grid**3, 14), np.float32)
    columns = (rows["offset"], rows["root"], rows["rgb"], rows["opacity"][:, None])
    whole[rows["slot"]] = np.concatenate([np.ones_like(columns[-1]), *columns], axis=1)
    return torch.from_numpy(whole)
