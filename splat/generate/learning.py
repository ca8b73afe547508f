"""Learning to make things of words: both stages, each resumed to the bit.

All draws are functions of (seed, step, purpose), so that a training that goes on ends as one that
never stopped.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from splat.datasets.objects.files import Corpus
from splat.generate.attributes import Attributes, near
from splat.generate.choices import Taught
from splat.generate.field import field_of, points
from splat.generate.store import Design, Trained
from splat.generate.words import Vocabulary
from splat.loop import stream
from splat.system.foreign import Broken, Record

FORMAT = "splat generator training"
VERSION = 1
WARM_UP = 200
"""Steps over which the rate rises, or a twentieth of all in short trainings."""
BETAS, DECAY, CLIP = (0.9, 0.99), 1e-2, 1.0
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
    def of(cls, corpus: Corpus, vocabulary: Vocabulary, design: Design, split: str) -> Lessons:
        """Those of a split."""
        things = tuple(corpus.numbers(split))
        texts = [vocabulary.read(corpus.texts[i]) for i in things]
        grid = design.geometry.grid
        fields = torch.empty(len(things), grid, grid, grid, dtype=torch.float16)
        for row, i in enumerate(things):
            fields[row] = field_of(corpus.means(i), grid)
        return cls(corpus, things, vocabulary.numbers(texts), fields)


class Stage:
    """A network that is trained, and the running mean of its weights."""

    def __init__(self, name: str, module: nn.Module, steps: int, rate: float) -> None:
        self.name, self.module, self.steps, self.rate = name, module, steps, rate
        self.average = copy.deepcopy(module).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=rate, betas=BETAS, weight_decay=DECAY
        )
        self.step = 0

    def rate_now(self) -> float:
        """The learning rate of the next step."""
        warm = min(WARM_UP, max(1, self.steps // 20))
        fall = 0.5 + 0.5 * math.cos(math.pi * self.step / self.steps)
        return self.rate * min(1.0, (self.step + 1) / warm) * fall

    def advance(self, gradients: Sequence[Sequence[Tensor]]) -> None:
        """One step against the mean of gradients, which are added up in their order."""
        for values, each in zip(
            self.module.parameters(), zip(*gradients, strict=True), strict=True
        ):
            whole = each[0].clone()
            for more in each[1:]:
                whole += more
            values.grad = whole / len(each)
        nn.utils.clip_grad_norm_(self.module.parameters(), CLIP, foreach=False)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_now()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        keep = min(0.999, self.step / (self.step + 9))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.module.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)

    def state(self) -> dict[str, Any]:
        """All that a training goes on from."""
        return {
            "step": self.step,
            "module": dict(self.module.state_dict()),
            "average": dict(self.average.state_dict()),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        said = Record(state)
        step = said.whole("step")
        if step > self.steps:
            raise Broken(f"is at step {step:,} of {self.steps:,}")
        self.module.load_state_dict(dict(said.record("module")))
        self.average.load_state_dict(dict(said.record("average")))
        self.optimizer.load_state_dict(dict(said.record("optimizer")))
        self.step = step


class Together:
    """Threads that find the gradients of a step, on whose number nothing depends: each takes a part
    of its own, within which torch has one."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(
            threads, initializer=torch.set_num_threads, initargs=(1,)
        )
        torch.set_num_threads(1)

    def advance(
        self, stage: Stage, parts: Sequence[Tensor], loss: Callable[[int, Tensor], Tensor]
    ) -> float:
        """One step of a stage by the losses of parts, numbered from 0; their mean."""

        def part(number: int, some: Tensor) -> tuple[float, Sequence[Tensor]]:
            found = loss(number, some)
            return float(found.detach()), torch.autograd.grad(found, [*stage.module.parameters()])

        each = list(self._threads.map(part, range(len(parts)), parts))
        stage.advance([gradients for _, gradients in each])
        return sum(value for value, _ in each) / len(each)


class Learning:
    """A training of both stages, one after the other."""

    def __init__(
        self,
        lessons: Lessons,
        design: Design,
        vocabulary: Vocabulary,
        taught: Taught,
        threads: int = 1,
    ) -> None:
        """With so many threads, on whose number nothing depends."""
        self.lessons, self.design, self.vocabulary, self.taught = (
            lessons,
            design,
            vocabulary,
            taught,
        )
        self._together = Together(threads)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(taught.seed)
            made = Trained(design, vocabulary)
        self.geometry = Stage("geometry", made.geometry, taught.steps, taught.rate)
        self.attributes = Stage("attributes", made.attributes, taught.attribute_steps, taught.rate)

    @property
    def stages(self) -> tuple[Stage, Stage]:
        """Both, in order."""
        return self.geometry, self.attributes

    @property
    def step(self) -> int:
        """Steps done, of both stages."""
        return self.geometry.step + self.attributes.step

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.geometry.steps + self.attributes.steps

    def advance(self) -> tuple[str, float]:
        """One step; which stage it was, and its loss."""
        first = self.geometry.step < self.geometry.steps
        stage, lesson = (
            (self.geometry, self.field_loss) if first else (self.attributes, self.attribute_loss)
        )
        draw = self._draw(f"{stage.name} things")
        many = min(self.taught.batch, len(self.lessons.things))
        rows = torch.randperm(len(self.lessons.things), generator=draw)[:many]

        def part(number: int, some: Tensor) -> Tensor:
            def own(purpose: str) -> torch.Generator:
                return self._draw(f"{stage.name} {purpose} {number}")

            return lesson(stage.module, self.lessons, some, own)

        return stage.name, self._together.advance(stage, rows.split(PART), part)

    def field_loss(
        self,
        module: nn.Module,
        lessons: Lessons,
        rows: Int[Tensor, "b"],
        draw: Callable[[str], torch.Generator],
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
        draw: Callable[[str], torch.Generator],
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

    @torch.no_grad()
    def held_out(self, lessons: Lessons) -> dict[str, float]:
        """Losses of the running means over things that were held out, with draws of their own."""
        sums = {stage.name: 0.0 for stage in self.stages}
        rows = torch.arange(len(lessons.things)).split(self.taught.batch)
        for place, some in enumerate(rows):

            def draw(purpose: str, place: int = place) -> torch.Generator:
                return stream(self.taught.seed, place, f"held out {purpose}", _CPU)

            for stage, lesson in zip(
                self.stages, (self.field_loss, self.attribute_loss), strict=True
            ):
                sums[stage.name] += len(some) * float(lesson(stage.average, lessons, some, draw))
        return {name: value / len(lessons.things) for name, value in sums.items()}

    def networks(self) -> dict[str, Mapping[str, Tensor]]:
        """The running means, as a generator has them."""
        return {stage.name: stage.average.state_dict() for stage in self.stages}

    def state(self) -> dict[str, Any]:
        """All that it goes on from, as `checkpoint.write` takes it."""
        return {
            "format": FORMAT,
            "version": VERSION,
            **{stage.name: stage.state() for stage in self.stages},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        for stage in self.stages:
            stage.restore(Record(state).record(stage.name))

    @property
    def _dropped(self) -> float:
        return self.taught.dropped if self.design.guidance != 1 else 0.0

    def _draw(self, purpose: str) -> torch.Generator:
        return stream(self.taught.seed, self.step, purpose, _CPU)


_CPU = torch.device("cpu")


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
