"""What is stored of a Gaussian's size and opacity, as what is drawn."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat.kernels import output
from splat.kernels.crossing import needed, optional, plain, rows_of, shaped
from splat.kernels.native import cpu, table_of


def activate(
    log_scales: Float[Tensor, "n 3"], logits: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """exp(log_scales) and the logistic function of logits, differentiably.

    On the CPU in one pass of our own, elsewhere by torch.
    """
    shaped("logits", logits, (rows_of("log_scales", log_scales, 3),))
    if log_scales.device.type != "cpu":
        return log_scales.exp(), logits.sigmoid()
    scales, opacities, *means = _Activate.apply(log_scales, logits)  # type: ignore[no-untyped-call]
    scales.found_mean, opacities.found_mean = means
    return scales, opacities


def mean_of(values: Tensor, weight: float = 1.0) -> Float[Tensor, ""]:
    """`weight` times the mean of all values. Of what `activate` gave it costs next to nothing, its
    gradient included."""
    found: Tensor | None = getattr(values, "found_mean", None)
    if found is None:
        return weight * values.mean()
    weighted: Tensor = _Weighted.apply(found, weight)  # type: ignore[no-untyped-call]
    return weighted


class _Weighted(torch.autograd.Function):
    """A number times a weight. Torch's product of two numbers is code that nothing else in a step
    needs, so that it must come from memory; this is at hand."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return torch.scalar_tensor(weight * float(value), dtype=value.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return torch.scalar_tensor(ctx.weight * float(gradient), dtype=gradient.dtype), None


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_scales: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
        log_scales, logits = plain(log_scales), plain(logits)
        scales, opacities = output.rows.empty_like(log_scales), output.rows.empty_like(logits)
        n = logits.shape[0]
        arrays = needed(
            log_scales, log_scales=(log_scales, (n, 3)), logits=(logits, (n,)),
            scales=(scales, (n, 3)), opacities=(opacities, (n,)),
        )  # fmt: skip
        means = cpu.activate(table_of(log_scales), {**arrays, "n": n})
        ctx.save_for_backward(scales, opacities)
        ctx.set_materialize_grads(False)
        return scales, opacities, *(torch.scalar_tensor(m, dtype=logits.dtype) for m in means)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        scales, opacities = ctx.saved_tensors
        by_rows = [None if g is None else plain(g) for g in gradients[:2]]
        found = [
            None if rows is None and mean is None else output.rows.empty_like(values)
            for values, rows, mean in zip((scales, opacities), by_rows, gradients[2:], strict=True)
        ]
        n = opacities.shape[0]
        v_mean_scale, v_mean_opacity = (0.0 if g is None else float(g) for g in gradients[2:])
        arrays = {
            **needed(opacities, scales=(scales, (n, 3)), opacities=(opacities, (n,))),
            **optional(
                opacities, v_scales=(by_rows[0], (n, 3)), v_opacities=(by_rows[1], (n,)),
                v_log_scales=(found[0], (n, 3)), v_logits=(found[1], (n,)),
            ),
        }  # fmt: skip
        means = {"v_mean_scale": v_mean_scale, "v_mean_opacity": v_mean_opacity}
        cpu.activate_backward(table_of(opacities), {**arrays, "n": n, **means})
        return found[0], found[1]
