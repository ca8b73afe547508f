"""One column of a cloud: its values, how fast they move, and what Adam remembers of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from splat import kernels
from splat.kernels import Harmonics, HarmonicsGradient

BETAS = (0.9, 0.999)
EPSILON = 1e-15


@dataclass(frozen=True)
class Rate:
    """A learning rate: constant, or falling log-linearly from `start` to `end` over `steps`."""

    start: float
    end: float | None = None
    steps: int = 0
    tail: float = 1.0
    """Factor beyond the first entry of a column's middle axis (SH: 1/20 beyond the constant)."""
    tail_every: int = 1
    """Steps between moves of those entries; of the gradients in between, none is used."""

    def __call__(self, step: int) -> float:
        if self.end is None or self.steps <= 0:
            return self.start
        t = min(step / self.steps, 1.0)
        return math.exp((1 - t) * math.log(self.start) + t * math.log(self.end))


@dataclass
class Column:
    values: torch.nn.Parameter
    first: Tensor
    """Adam's first moment."""
    second: Tensor
    rate: Rate
    count: int = 0
    """Adam's steps, shared by all rows (newborn rows see a warm bias correction, as in 3DGS)."""

    def replace(self, values: Tensor) -> None:
        """Take other values; a column of harmonics stays one."""
        self.values = type(self.values)(values)

    def gradient(self) -> Tensor | HarmonicsGradient | None:
        """What backward left, as factors where it left nothing else."""
        pending = self.values.pending if isinstance(self.values, Harmonics) else []
        if len(pending) == 1 and self.values.grad is None:
            return pending[0]
        whole = [] if self.values.grad is None else [self.values.grad]
        whole += [part.dense(self.values.shape[1]) for part in pending]
        return sum(whole[1:], whole[0]) if whole else None

    def clear_gradient(self) -> None:
        self.values.grad = None
        if isinstance(self.values, Harmonics):
            self.values.pending.clear()

    def optimize(
        self, step: int, visible: Bool[Tensor, "n"] | None, rate_scale: float = 1.0
    ) -> None:
        """One Adam step at so many times its rate, if backward left a gradient; then it is gone."""
        gradient = self.gradient()
        if gradient is None:
            return
        self.count += 1
        for part, count in _parts(self.count, self.rate.tail_every):
            kernels.adam(
                self.values,
                gradient,
                self.first,
                self.second,
                rate=rate_scale * self.rate(step),
                tail=self.rate.tail,
                count=count,
                betas=BETAS,
                epsilon=EPSILON,
                part=part,
                visible=visible,
            )
        self.clear_gradient()


def _parts(count: int, tail_every: int) -> list[tuple[str, int]]:
    """Which entries of a column move at its step `count`, and how many moves they have made."""
    if tail_every == 1:
        return [("all", count)]
    tail = [("tail", count // tail_every)] if count % tail_every == 0 else []
    return [("head", count), *tail]
