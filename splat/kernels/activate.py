"""What is stored of a Gaussian's size and opacity, as what is drawn."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.kernels.native import address, cpu, plain, same_kind, shaped, table_of


def activate(
    log_scales: Float[Tensor, "n 3"], logits: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """exp(log_scales) and the logistic function of logits, differentiably.

    On the CPU in one pass of our own, elsewhere by torch.
    """
    shaped("logits", logits, (len(log_scales),))
    if log_scales.device.type != "cpu":
        return log_scales.exp(), logits.sigmoid()
    same_kind(log_scales=log_scales, logits=logits)
    scales, opacities = _Activate.apply(log_scales, logits)  # type: ignore[no-untyped-call]
    return scales, opacities


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_scales: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        log_scales, logits = plain(log_scales), plain(logits)
        scales, opacities = torch.empty_like(log_scales), torch.empty_like(logits)
        cpu.activate(
            table_of(logits), address(log_scales), address(logits), address(scales),
            address(opacities), len(logits),
        )  # fmt: skip
        ctx.save_for_backward(scales, opacities)
        ctx.set_materialize_grads(False)
        return scales, opacities

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        scales, opacities = ctx.saved_tensors
        given = [None if g is None else plain(g) for g in gradients]
        found = [None if g is None else torch.empty_like(g) for g in given]
        cpu.activate_backward(
            table_of(opacities),
            [address(t) for t in (scales, opacities, *given, *found)],
            len(opacities),
        )
        return found[0], found[1]
