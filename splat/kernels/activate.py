"""What is stored of a Gaussian's size and opacity, as what is drawn."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.kernels.native import address, addresses, cpu, plain, same_kind, shaped, table_of


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
    scales, opacities, *means = _Activate.apply(log_scales, logits)  # type: ignore[no-untyped-call]
    scales.found_mean, opacities.found_mean = means
    return scales, opacities


def mean_of(values: Tensor) -> Float[Tensor, ""]:
    """The mean of all values. Of what `activate` gave it costs nothing, its gradient included."""
    found: Tensor | None = getattr(values, "found_mean", None)
    return values.mean() if found is None else found


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_scales: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
        log_scales, logits = plain(log_scales), plain(logits)
        scales, opacities = torch.empty_like(log_scales), torch.empty_like(logits)
        means = cpu.activate(
            table_of(logits), address(log_scales), address(logits), address(scales),
            address(opacities), len(logits),
        )  # fmt: skip
        ctx.save_for_backward(scales, opacities)
        ctx.set_materialize_grads(False)
        return scales, opacities, *(torch.scalar_tensor(m, dtype=logits.dtype) for m in means)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        scales, opacities = ctx.saved_tensors
        by_rows = [None if g is None else plain(g) for g in gradients[:2]]
        found = [
            None if rows is None and mean is None else torch.empty_like(values)
            for values, rows, mean in zip((scales, opacities), by_rows, gradients[2:], strict=True)
        ]
        cpu.activate_backward(
            table_of(opacities),
            addresses(scales, opacities, *by_rows, *found),
            len(opacities),
            [0.0 if g is None else float(g) for g in gradients[2:]],
        )
        return found[0], found[1]
