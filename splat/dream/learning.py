"""Teaching a teacher: pictures of things with noise on them, resumed to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F

from splat.dream.choices import Schooling
from splat.dream.pictures import Pictures
from splat.dream.tutor import Design, Tutor, signal
from splat.generate.course import Course, Draw, Stage
from splat.generate.words import Vocabulary

STAGE = "pictures"
PART = 8
"""Pictures of a step whose gradients are found together."""


class Learning(Course):
    """A training of our own teacher."""

    def __init__(
        self,
        pictures: Pictures,
        design: Design,
        vocabulary: Vocabulary,
        schooling: Schooling,
        threads: int = 1,
    ) -> None:
        """With so many threads, on whose number nothing depends."""
        self.design, self.schooling = design, schooling
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(schooling.seed)
            made = Tutor(design, vocabulary)
        stage = Stage(STAGE, made.network, schooling.steps, schooling.rate)
        super().__init__("teacher", [stage], pictures, schooling.seed, schooling.batch, threads)

    def rows(self, stage: Stage, draw: Draw) -> Sequence[Int[Tensor, "b"]]:
        size = (self.schooling.batch,)
        rows: Tensor = torch.randint(len(self.lessons), size, generator=draw("rows"))
        return list(rows.split(PART))

    def loss(
        self,
        stage: Stage,
        module: nn.Module,
        lessons: Pictures,
        rows: Int[Tensor, "b"],
        draw: Draw,
    ) -> Tensor:
        """Squared error of v = sqrt(abar) e - sqrt(1 - abar) z, at times that are even; some texts
        are left out."""
        clean = F.pixel_unshuffle(2 * lessons.clean(rows) - 1, self.design.patch)
        times = torch.rand(len(rows), generator=draw("times"))
        noise = torch.randn(clean.shape, generator=draw("noise"))
        left_out = torch.rand(len(rows), generator=draw("dropped")) < self.schooling.dropped
        numbers = lessons.numbers[rows].masked_fill(left_out[:, None], 0)
        share = signal(times)[:, None, None, None]
        of_signal, of_noise = share.sqrt(), (1 - share).sqrt()
        noisy = of_signal * clean + of_noise * noise
        said = module(noisy, numbers, times, lessons.seen[rows])
        error: Tensor = (said - (of_signal * noise - of_noise * clean)).square().mean()
        return error

    def weights(self) -> Mapping[str, Tensor]:
        """The running mean, as a teacher has it."""
        return self.stages[0].average.state_dict()
