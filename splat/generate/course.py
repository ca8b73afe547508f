"""A training of networks, stage by stage, that is resumed to the bit.

All draws are functions of (seed, step, purpose), so that a training that goes on ends as one that
never stopped.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from splat.loop import stream
from splat.runs import checkpoint
from splat.system.foreign import Broken, Record

VERSION = 1
"""Of what trainings are kept in."""
WARM_UP = 200
"""Steps over which the rate rises, or a twentieth of all in short trainings."""
BETAS, DECAY, CLIP = (0.9, 0.99), 1e-2, 1.0
_CPU = torch.device("cpu")

Draw = Callable[[str], torch.Generator]
"""A generator of random numbers for a purpose."""


def multiplies_half() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    kinds = ("avx512_bf16", "amx_tile")
    asks = [getattr(torch.cpu, f"_is_{kind}_supported", None) for kind in kinds]
    return any(ask is not None and ask() for ask in asks)


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
        checkpoint.restore_optimizer(self.optimizer, state["optimizer"])
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


class Course(ABC):
    """A training of networks, one stage after the other."""

    def __init__(
        self,
        kind: str,
        stages: Sequence[Stage],
        lessons: Sized,
        seed: int,
        batch: int,
        threads: int,
    ) -> None:
        """Of a `kind` of network ("teacher"), with so many threads, on whose number nothing
        depends."""
        self.kind, self.format = kind, f"splat {kind} training"
        self.stages, self.lessons, self.seed, self.batch = tuple(stages), lessons, seed, batch
        self.half = False
        """Whether networks compute in bfloat16; weights and sums of losses are float32."""
        self._together = Together(threads)

    @property
    def step(self) -> int:
        """Steps done, of all stages."""
        return sum(stage.step for stage in self.stages)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return sum(stage.steps for stage in self.stages)

    @abstractmethod
    def rows(self, stage: Stage, draw: Draw) -> Sequence[Int[Tensor, "b"]]:
        """Lessons of a stage's step, in parts whose gradients are found together."""

    @abstractmethod
    def loss(
        self, stage: Stage, module: nn.Module, lessons: Any, rows: Int[Tensor, "b"], draw: Draw
    ) -> Float[Tensor, ""]:
        """What a stage's network, or the running mean of it, is off by over some lessons."""

    def advance(self) -> tuple[str, float]:
        """One step; which stage it was, and its loss."""
        stage = next(stage for stage in self.stages if stage.step < stage.steps)
        of = f"{stage.name} " if len(self.stages) > 1 else ""

        def draw(purpose: str) -> torch.Generator:
            return stream(self.seed, self.step, of + purpose, _CPU)

        def part(number: int, some: Tensor) -> Tensor:
            def own(purpose: str) -> torch.Generator:
                return draw(f"{purpose} {number}")

            # Casts are not kept: other threads would meet them.
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half, cache_enabled=False):
                return self.loss(stage, stage.module, self.lessons, some, own)

        return stage.name, self._together.advance(stage, self.rows(stage, draw), part)

    @torch.no_grad()
    def held_out(self, lessons: Sized) -> dict[str, float]:
        """Losses of the running means over lessons that were held out, with draws of their own."""
        sums = {stage.name: 0.0 for stage in self.stages}
        for place, some in enumerate(torch.arange(len(lessons)).split(self.batch)):

            def draw(purpose: str, place: int = place) -> torch.Generator:
                return stream(self.seed, place, f"held out {purpose}", _CPU)

            for stage in self.stages:
                found = self.loss(stage, stage.average, lessons, some, draw)
                sums[stage.name] += len(some) * float(found)
        return {name: value / len(lessons) for name, value in sums.items()}

    def state(self) -> dict[str, Any]:
        """All that it goes on from, as `checkpoint.write` takes it."""
        stages = {stage.name: stage.state() for stage in self.stages}
        return {"format": self.format, "version": VERSION, **stages}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        for stage in self.stages:
            stage.restore(Record(state).record(stage.name))
