"""Teaching a teacher: pictures of things with noise on them, resumed to the bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F

from splat.dream.choices import Schooling
from splat.dream.pictures import Pictures
from splat.dream.tutor import Design, Tutor, signal
from splat.generate.learning import Stage, Together
from splat.generate.words import Vocabulary
from splat.loop import stream
from splat.system.foreign import Record

FORMAT = "splat teacher training"
VERSION = 1
STAGE = "pictures"
PART = 8
"""Pictures of a step whose gradients are found together."""
_CPU = torch.device("cpu")


class Learning:
    """A training of our own teacher.

    All draws are functions of (seed, step, purpose), so that one that goes on ends as one that
    never stopped.
    """

    def __init__(
        self,
        pictures: Pictures,
        design: Design,
        vocabulary: Vocabulary,
        schooling: Schooling,
        threads: int = 1,
    ) -> None:
        """With so many threads, on whose number nothing depends."""
        self.pictures, self.design, self.schooling = pictures, design, schooling
        self._together = Together(threads)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(schooling.seed)
            made = Tutor(design, vocabulary)
        self.stage = Stage(STAGE, made.network, schooling.steps, schooling.rate)

    @property
    def step(self) -> int:
        """Steps done."""
        return self.stage.step

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.stage.steps

    def advance(self) -> tuple[str, float]:
        """One step, and its loss."""
        draw = self._draw("rows")
        rows = torch.randint(len(self.pictures), (self.schooling.batch,), generator=draw)

        def part(number: int, some: Tensor) -> Tensor:
            def own(purpose: str) -> torch.Generator:
                return self._draw(f"{purpose} {number}")

            return self.loss(self.stage.module, self.pictures, some, own)

        return STAGE, self._together.advance(self.stage, rows.split(PART), part)

    def loss(
        self,
        module: nn.Module,
        pictures: Pictures,
        rows: Int[Tensor, "b"],
        draw: Callable[[str], torch.Generator],
    ) -> Tensor:
        """Squared error of v = sqrt(abar) e - sqrt(1 - abar) z, at times that are even; some texts
        are left out."""
        clean = F.pixel_unshuffle(2 * pictures.clean(rows) - 1, self.design.patch)
        times = torch.rand(len(rows), generator=draw("times"))
        noise = torch.randn(clean.shape, generator=draw("noise"))
        left_out = torch.rand(len(rows), generator=draw("dropped")) < self.schooling.dropped
        numbers = pictures.numbers[rows].masked_fill(left_out[:, None], 0)
        share = signal(times)[:, None, None, None]
        of_signal, of_noise = share.sqrt(), (1 - share).sqrt()
        noisy = of_signal * clean + of_noise * noise
        said = module(noisy, numbers, times, pictures.seen[rows])
        error: Tensor = (said - (of_signal * noise - of_noise * clean)).square().mean()
        return error

    @torch.no_grad()
    def held_out(self, pictures: Pictures) -> float:
        """The loss of the running mean over pictures of things that were held out."""
        total = 0.0
        for place, some in enumerate(torch.arange(len(pictures)).split(self.schooling.batch)):

            def draw(purpose: str, place: int = place) -> torch.Generator:
                return stream(self.schooling.seed, place, f"held out {purpose}", _CPU)

            total += len(some) * float(self.loss(self.stage.average, pictures, some, draw))
        return total / len(pictures)

    def weights(self) -> Mapping[str, Tensor]:
        """The running mean, as a teacher has it."""
        return self.stage.average.state_dict()

    def state(self) -> dict[str, Any]:
        """All that it goes on from, as `checkpoint.write` takes it."""
        return {"format": FORMAT, "version": VERSION, STAGE: self.stage.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self.stage.restore(Record(state).record(STAGE))

    def _draw(self, purpose: str) -> torch.Generator:
        return stream(self.schooling.seed, self.step, purpose, _CPU)
