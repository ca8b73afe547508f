"""Noise in place of rounding: what is trained with it can be rounded after (Ballé et al. 2017)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

SHIFT = 7
"""Draws of its own that each row of noise has; the others are those of the next rows."""


def noise(rows: int, width: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Even draws from -1/2 to 1/2; those of a row are as if drawn apart, and so are any column's.

    A row is the one before, shifted: so much noise is not to take longer than the step it is for.
    """
    count = max(0, SHIFT * (rows - 1)) + width
    drawn = torch.rand(count, generator=generator, device=generator.device).sub_(0.5)
    return drawn.as_strided((rows, width), (SHIFT, 1))


def shaken(
    values: Float[Tensor, "N d"],
    live: Float[Tensor, "n 1"],
    picked: Int[Tensor, "n"],
    noise: Float[Tensor, "N d"],
    steps: Float[Tensor, "N 1"],
    factor: float,
) -> tuple[Float[Tensor, "N d"], Float[Tensor, "n d"]]:
    """Values + noise x steps, and those of the picked rows by themselves.

    Steps of picked rows are `live`. What the first result says of them counts `factor` times in
    their gradient: the picked rows speak for others too.
    """
    found: tuple[Tensor, Tensor] = _Shaken.apply(values, live, picked, noise, steps, factor)  # type: ignore[no-untyped-call]
    return found


class _Shaken(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        live: Tensor,
        picked: Tensor,
        noise: Tensor,
        steps: Tensor,
        factor: float,
    ) -> tuple[Tensor, Tensor]:
        whole = torch.addcmul(values, noise, steps.index_copy(0, picked, live))
        ctx.save_for_backward(noise.index_select(0, picked), picked)
        ctx.factor = factor
        return whole, whole.index_select(0, picked)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        own, picked = ctx.saved_tensors
        whole, some = gradients
        live = ctx.factor * (whole.index_select(0, picked) * own).sum(1, keepdim=True)
        live += (some * own).sum(1, keepdim=True)
        return whole.index_add(0, picked, some), live, None, None, None, None
