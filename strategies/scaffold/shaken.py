"""Noise in place of rounding: what is trained with it can be rounded after (Ballé et al. 2017)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def shaken(
    values: Float[Tensor, "N d"],
    live: Float[Tensor, "n 1"],
    rows: Int[Tensor, "V"],
    picked: Int[Tensor, "n"],
    noise: Float[Tensor, "V d"],
    steps: Float[Tensor, "V 1"],
) -> tuple[Float[Tensor, "N d"], Float[Tensor, "n d"]]:
    """Values with noise times steps added in `rows`, and those of `rows[picked]` by themselves.

    Steps of picked rows are `live`. Their gradient is what the picked rows say, taken for all of
    `rows`: V / n times as much as of their number.
    """
    found: tuple[Tensor, Tensor] = _Shaken.apply(values, live, rows, picked, noise, steps)  # type: ignore[no-untyped-call]
    return found


class _Shaken(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        live: Tensor,
        rows: Tensor,
        picked: Tensor,
        noise: Tensor,
        steps: Tensor,
    ) -> tuple[Tensor, Tensor]:
        own, chosen = noise.index_select(0, picked), rows.index_select(0, picked)
        added = (noise * steps).index_copy_(0, picked, own * live)
        whole = values.index_add(0, rows, added)
        ctx.save_for_backward(own, chosen)
        ctx.factor = len(rows) / max(1, len(picked))
        return whole, whole.index_select(0, chosen)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        own, chosen = ctx.saved_tensors
        whole, some = gradients
        live = ctx.factor * (whole.index_select(0, chosen) * own).sum(1, keepdim=True)
        live += (some * own).sum(1, keepdim=True)
        return whole.index_add(0, chosen, some), live, None, None, None, None
