"""Adam on whole columns."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.kernels.harmonics import HarmonicsGradient
from splat.kernels.native import (
    address,
    cpu,
    cuda,
    is_half,
    same_kind,
    shaped,
    single,
    stream,
    table_of,
)


def adam(
    values: Tensor,
    gradient: Tensor | HarmonicsGradient,
    first: Tensor,
    second: Tensor,
    *,
    rate: float,
    tail: float = 1.0,
    count: int,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-15,
    part: str = "all",
    visible: Bool[Tensor, "n"] | None = None,
) -> None:
    """One Adam step in place on [n, ...] rows; `count` steps include this one.

    In a column with axes [n, k, c], entries beyond the first of k move at `rate * tail`; `part`
    is "head" or "tail" where only that entry, or only those beyond it, move at all. Rows that are
    not `visible` keep values and moments. What is bfloat16 of values and moments is rounded at
    random, as (count, element) has it; a dense gradient of such values may be bfloat16 too.
    """
    head, columns = _head(values)
    begin, end = {"all": (0, columns), "head": (0, head), "tail": (head, columns)}[part]
    factors: Tensor | None = None
    degree = 0
    if isinstance(gradient, HarmonicsGradient):
        if columns > 48 or values.is_cuda:
            gradient = gradient.dense(values.shape[1])
        else:
            # Bands that were never drawn have had no gradient: their step would be 0.
            factors, degree = gradient.factors.contiguous(), gradient.degree
            end = min(end, 3 * (degree + 1) ** 2)
            shaped("the gradient's factors", factors, (values.shape[0], 6))
            if not is_half(values):
                same_kind(values=values, factors=factors)
    if isinstance(gradient, Tensor):
        gradient = gradient.contiguous()
        gradient = gradient.float() if is_half(values) and is_half(gradient) else gradient
    # What is computed in: of values that are bfloat16 the gradient's type.
    given = gradient if factors is None else factors
    assert isinstance(given, Tensor)
    like = given if is_half(values) else values
    if is_half(values) and given.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"gradient is {given.dtype}, of values that are bfloat16; expected float32 or bfloat16"
        )
    same_kind(first=first, second=second)
    _checked(like, values.shape, values=values, first=first, second=second)
    if factors is None:
        _checked(like, values.shape, gradient=given)
    if visible is not None:
        shaped("visible", visible, (values.shape[0],))
        if visible.dtype != torch.bool or visible.device != values.device:
            raise ValueError(
                f"visible is {visible.dtype} on {visible.device}; expected torch.bool on"
                f" {values.device}"
            )
        visible = visible.contiguous().view(torch.uint8)
    if begin >= end:
        return
    half = first.dtype == torch.bfloat16
    numbers = [
        rate, rate * tail, *betas, epsilon, 1 - betas[0] ** count, 1 - betas[1] ** count,
    ]  # fmt: skip
    dense = gradient if isinstance(gradient, Tensor) else None
    arrays = [address(t) for t in (values, dense, first, second)]
    seed = count * 0x9E3779B1 % 2**32
    if values.is_cuda:
        if is_half(values):
            raise ValueError(
                "the CUDA kernels move float32 values and were given bfloat16; keep them as float32"
            )
        single(values)
        with torch.cuda.device(values.device):
            cuda().adam(
                [*arrays, address(visible)], values.shape[0], columns, head, [begin, end], numbers,
                half, seed, stream(values),
            )  # fmt: skip
    else:
        cpu.adam(
            table_of(like), [*arrays, address(factors), address(visible)], values.shape[0], columns,
            head, [begin, end], numbers, degree, half, seed, is_half(values),
        )  # fmt: skip


def _head(values: Tensor) -> tuple[int, int]:
    rows = values.shape[0]
    columns = values.numel() // rows if rows else 1
    return (columns // values.shape[1] if values.ndim == 3 else columns), columns


def _checked(like: Tensor, shape: torch.Size, /, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise ValueError(f"{name} is not contiguous; adam works in place on whole columns")
        shaped(name, tensor, shape)
        half = name != "gradient" and is_half(tensor)
        if (tensor.dtype != like.dtype and not half) or tensor.device != like.device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, the values are {like.dtype} on"
                f" {like.device}; they must agree"
            )
