"""One column of a cloud: its values, how fast they move, and what Adam remembers of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat import kernels
from splat.kernels import Harmonics, HarmonicsGradient, left_by_backward
from splat.kernels.harmonics import basis

BETAS = (0.9, 0.999)
EPSILON = 1e-15
AT_ONCE = 1 << 14
"""Rows whose gradients are written out together where they came as several factors: as many as
stay in the caches of a core."""


@dataclass(frozen=True)
class Scaling:
    """How Adam moves where a step shows several photos, by the mean of their gradients.

    The square root rule (Malladi et al. 2022, "On the SDEs and scaling rules for adaptive gradient
    algorithms"; used for Gaussians by Zhao et al. 2024, "On scaling up 3D Gaussian splatting
    training"): rates times the root of the number of photos, and moments that forget as much per
    photo as with one. For one photo all is exactly as it was.
    """

    photos: int = 1

    @property
    def rate(self) -> float:
        """Factor on learning rates."""
        return math.sqrt(self.photos)

    @property
    def epsilon(self) -> float:
        """Factor on Adam's epsilon: what it is added to is smaller by as much."""
        return 1 / math.sqrt(self.photos)

    def betas(self, planned: tuple[float, float]) -> tuple[float, float]:
        """Adam's betas for a step, from those for one photo."""
        first, second = planned
        return first**self.photos, second**self.photos


@dataclass(frozen=True)
class Rate:
    """A learning rate: constant, or falling log-linearly from `start` to `end` over `steps`, after
    a share `holds` of which it begins to fall."""

    start: float
    end: float | None = None
    steps: int = 0
    tail: float = 1.0
    """Factor beyond the first entry of a column's middle axis (SH: 1/20 beyond the constant)."""
    tail_every: int = 1
    """Steps between moves of those entries; of the gradients in between, none is used."""
    holds: float = 0.0

    def __call__(self, step: int) -> float:
        if self.end is None or self.steps <= 0:
            return self.start
        t = (min(step / self.steps, 1.0) - self.holds) / (1 - self.holds)
        if t < 0:
            return self.start
        return math.exp((1 - t) * math.log(self.start) + t * math.log(self.end))


class Column:
    """Values [N, ...], and what Adam needs to move them.

    A step of harmonics goes on when `optimize` has returned, on the threads of the kernels that
    have nothing else to do: nobody needs them before the next picture. Who asks for values or
    moments has to wait for it; who asked before the step asks again.
    """

    def __init__(
        self,
        values: torch.nn.Parameter,
        first: Tensor,
        second: Tensor,
        rate: Rate,
        count: int = 0,
    ) -> None:
        self._values, self._first, self._second = values, first, second
        self._going = 0
        """The step still running on other threads (`splat.kernels.finish`); 0: none."""
        self.rate = rate
        self.count = count
        """Adam's steps, shared by all rows (newborn rows see a warm bias correction, as in
        3DGS)."""

    @property
    def values(self) -> torch.nn.Parameter:
        self._finish()
        return self._values

    @property
    def first(self) -> Tensor:
        """Adam's first moment."""
        self._finish()
        return self._first

    @property
    def second(self) -> Tensor:
        """Adam's second moment."""
        self._finish()
        return self._second

    def replace(self, values: Tensor) -> None:
        """Set the values, cast to their present type; a column of harmonics stays one."""
        self._finish()
        self._values = type(self._values)(values.to(self._values.dtype))

    def remember(self, first: Tensor, second: Tensor) -> None:
        """Set Adam's moments."""
        self._finish()
        self._first, self._second = first, second

    @property
    def is_harmonics(self) -> bool:
        """Whether the values are harmonics, whose gradient may come as factors."""
        return type(self._values) is Harmonics

    def rows(self, index: Tensor) -> Tensor:
        """A copy of some rows, detached; float32 where they are kept as bfloat16."""
        rows = self.values.detach()[index]
        return rows.float() if rows.dtype == torch.bfloat16 else rows

    def gradient(self) -> Tensor | HarmonicsGradient | None:
        """The gradient that backward left, as factors where that is all; None: none."""
        return left_by_backward(self.values)

    def clear_gradient(self) -> None:
        self._values.grad = None
        if type(self._values) is Harmonics:
            self._values.pending.clear()

    def optimize(
        self,
        step: int,
        visible: Bool[Tensor, "n"] | None,
        rate_scale: float = 1.0,
        scaling: Scaling = Scaling(),
    ) -> None:
        """One Adam step at `rate_scale` times its rate, if there is a gradient; clears it."""
        for number, (rows, gradient) in enumerate(self._gradients()):
            self.count += number == 0
            self._optimized(rows, gradient, step, visible, rate_scale, scaling)
        self.clear_gradient()

    def _gradients(self) -> Iterator[tuple[slice | None, Tensor | HarmonicsGradient]]:
        """Rows (None: all) and their gradient, in parts where that takes less memory."""
        pending = self.values.pending if type(self.values) is Harmonics else []
        if len(pending) > 1 and self.values.grad is None:
            for start in range(0, len(self.values), AT_ONCE):
                rows = slice(start, start + AT_ONCE)
                yield rows, dense_sum(pending, rows, self.values.shape[1])
            return
        gradient = self.gradient()
        if gradient is not None:
            yield None, gradient

    def _optimized(
        self,
        rows: slice | None,
        gradient: Tensor | HarmonicsGradient,
        step: int,
        visible: Bool[Tensor, "n"] | None,
        rate_scale: float,
        scaling: Scaling,
    ) -> None:
        state: tuple[Tensor, Tensor, Tensor] = (self.values, self.first, self.second)
        if rows is not None:
            values, first, second = state
            state = (values.detach()[rows], first[rows], second[rows])
            visible = None if visible is None else visible[rows]
        values, first, second = state
        parts = _parts(self.count, self.rate.tail_every)
        aside = rows is None and len(parts) == 1 and self.is_harmonics
        for part, count in parts:
            going = kernels.adam(
                values,
                gradient,
                first,
                second,
                rate=rate_scale * scaling.rate * self.rate(step),
                tail=self.rate.tail,
                count=count,
                betas=scaling.betas(BETAS),
                epsilon=scaling.epsilon * EPSILON,
                part=part,
                visible=visible,
                aside=aside,
            )
            if aside:
                self._going = going

    def _finish(self) -> None:
        going = self._going
        if going:
            kernels.finish(going)
            if self._going == going:  # another thread may have asked, too, and gone on
                self._going = 0


def dense_sum(
    parts: Sequence[HarmonicsGradient], rows: slice, coefficients: int
) -> Float[Tensor, "m k 3"]:
    """The sum of gradients that came as factors, of some rows, written out."""
    like = parts[0].factors[rows]
    # Rows last, so that all arithmetic runs along them.
    whole = like.new_zeros(coefficients, 3, len(like))
    for part in parts:
        turned = part.factors[rows].T.contiguous()
        bands = basis(turned[3:].T, part.degree).T.contiguous()
        whole[: len(bands)].addcmul_(bands[:, None], turned[None, :3])
    return whole.view(3 * coefficients, -1).T.reshape(len(like), coefficients, 3)


def _parts(count: int, tail_every: int) -> list[tuple[str, int]]:
    """Which entries of a column move at its step `count`, and how many moves they have made."""
    if tail_every == 1:
        return [("all", count)]
    tail = [("tail", count // tail_every)] if count % tail_every == 0 else []
    return [("head", count), *tail]
