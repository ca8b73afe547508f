"""sRGB (IEC 61966-2-1) and linear values of colours."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def linear(display: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Linear values of sRGB ones."""
    return torch.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def displayed(linear: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """sRGB values (IEC 61966-2-1) of linear ones, at most 1, as a photo has them.

    A gradient passes a value above 1 only if it would lower it: what a photo shows as white may be
    as bright as it likes.
    """
    low = linear <= 0.0031308
    curved = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    found: Tensor = _Saturated.apply(torch.where(low, 12.92 * linear, curved))  # type: ignore[no-untyped-call]
    return found


class _Saturated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value > 1)
        return value.clamp_max(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        (over,) = ctx.saved_tensors
        gradient: Tensor = gradients[0]
        return gradient.where(~over | (gradient > 0), 0)
