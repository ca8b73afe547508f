"""Bits of numbers under normal distributions: our kernel against torch and against mass, on every
instruction set."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.special import ndtr

from splat import kernels
from splat.kernels.surprise import by_torch


def drawn(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Numbers up to 30 deviations out, deviations from an eighth of a step to 64; one number on its
    mean, one at an edge of its step."""
    draw = torch.Generator().manual_seed(n)
    deviation = (torch.rand(n, generator=draw, dtype=torch.float64) * 9 - 3).exp2()
    apart = deviation * torch.randn(n, generator=draw, dtype=torch.float64)
    apart[::5] *= 10
    apart[:2] = torch.tensor([0.0, 0.5], dtype=torch.float64)[: min(n, 2)]
    given = (apart.to(dtype).requires_grad_(), deviation.to(dtype).requires_grad_())
    return given


@pytest.mark.parametrize("n", [0, 1, 5, 37, 5000])
def test_bits_and_gradients_equal_those_of_torch(n: int, dtype: torch.dtype) -> None:
    apart, deviation = drawn(n, dtype)
    found = kernels.surprise(apart, deviation)
    expected = by_torch(apart.double(), deviation.double())
    bound = 1e-9 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(found.double(), expected, rtol=bound, atol=bound)
    ours = torch.autograd.grad(found.sum(), (apart, deviation))
    theirs = torch.autograd.grad(expected.sum(), (apart, deviation))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=20 * bound, atol=bound)


def test_mass_and_what_has_none() -> None:
    apart = torch.tensor([0.0, 1.2, -8.0, 160.0, 1e6], dtype=torch.float64, requires_grad=True)
    deviation = torch.full_like(apart, 2.0)
    found = kernels.surprise(apart, deviation)
    mass = ndtr((apart[:3] + 0.5) / 2) - ndtr((apart[:3] - 0.5) / 2)
    torch.testing.assert_close(found[:3], -mass.log2())
    # 80 deviations out: -log2 of a density, where its mass is no number any more.
    assert found.tolist()[3] == pytest.approx(0.5 * (159.5 / 2) ** 2 / math.log(2), rel=0.01)
    (slope,) = torch.autograd.grad(found.sum(), apart)
    assert slope[0] == 0 and slope[1] > 0 > slope[2]
    assert float(slope[4]) == pytest.approx(1e6 / 4 / math.log(2), rel=1e-3)


def test_far_out_in_single_precision(dtype: torch.dtype) -> None:
    apart = torch.tensor([3e3, -3e4], dtype=dtype, requires_grad=True)
    deviation = torch.full_like(apart, 2.0).requires_grad_()
    slope, wider = torch.autograd.grad(kernels.surprise(apart, deviation).sum(), (apart, deviation))
    one = torch.ones_like(slope)
    torch.testing.assert_close(slope * 4 * math.log(2) / apart, one, rtol=1e-3, atol=0)
    torch.testing.assert_close(-wider * 8 * math.log(2) / apart**2, one, rtol=1e-3, atol=0)


def test_threads_and_shapes(alike_by_threads: Callable[..., None]) -> None:
    apart, deviation = drawn(20_000, torch.float32)
    alike_by_threads(lambda: [kernels.surprise(apart, deviation)])
    with pytest.raises(ValueError, match=r"deviation has shape \(19999,\)"):
        kernels.surprise(apart, deviation[1:])
