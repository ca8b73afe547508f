"""Bits of numbers that normal distributions expect, differentiably."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.special import log_ndtr

from splat.kernels import output
from splat.kernels.crossing import needed, plain, same_kind, shaped
from splat.kernels.native import cpu, table_of

LEAST_MASS = 1e-6
"""Of what the nearer tail holds, what a step has at least."""


def surprise(
    apart: Float[Tensor, "*shape"], deviation: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """-log2 of a normal distribution's mass over a step of one around each number: the bits that
    it takes, rounded (Ballé et al. 2018, "Variational image compression", section 3).

    Numbers are given by how far they are from what is expected, in steps, as are standard
    deviations, which are above 0. By logarithms of tails, so that what lies far out has a gradient,
    too. On the CPU in one pass of our own, elsewhere by torch. ValueError where shapes or types do
    not fit.
    """
    shaped("deviation", deviation, apart.shape)
    same_kind(apart=apart, deviation=deviation)
    if apart.device.type != "cpu":
        return by_torch(apart, deviation)
    found: Tensor = _Surprise.apply(apart, deviation)  # type: ignore[no-untyped-call]
    return found


def by_torch(
    apart: Float[Tensor, "*shape"], deviation: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """`surprise` in torch's operations: what runs on other devices, and what tests compare with."""
    inverse = 1 / deviation
    far, half = apart.abs() * inverse, 0.5 * inverse
    near, beyond = log_ndtr(half - far), log_ndtr(-half - far)
    mass: Tensor = near + torch.log1p(-(beyond - near).clamp_max(-LEAST_MASS).exp())
    return -mass / math.log(2)


class _Surprise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, apart: Tensor, deviation: Tensor) -> Tensor:
        apart, deviation = plain(apart), plain(deviation)
        bits, n = output.rows.empty_like(apart), apart.numel()
        arrays = needed(
            apart, apart=(apart, apart.shape), deviation=(deviation, apart.shape),
            bits=(bits, apart.shape),
        )  # fmt: skip
        cpu.surprises(table_of(apart), {**arrays, "n": n})
        ctx.save_for_backward(apart, deviation)
        return bits

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor]:
        apart, deviation = ctx.saved_tensors
        v_bits, shape = plain(gradients[0]), apart.shape
        v_apart, v_deviation = (output.rows.empty_like(apart) for _ in range(2))
        arrays = needed(
            apart, apart=(apart, shape), deviation=(deviation, shape), v_bits=(v_bits, shape),
            v_apart=(v_apart, shape), v_deviation=(v_deviation, shape),
        )  # fmt: skip
        cpu.surprises_backward(table_of(apart), {**arrays, "n": apart.numel()})
        return v_apart, v_deviation
