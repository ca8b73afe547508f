"""Adam on whole columns."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.kernels.aside import hold
from splat.kernels.harmonics import HarmonicsGradient
from splat.kernels.native import (
    addresses,
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
    aside: bool = False,
) -> int:
    """One Adam step in place on [n, ...] rows; `count` steps include this one.

    In a column with axes [n, k, c], entries beyond the first of k move at `rate * tail`; `part`
    is "head" or "tail" where only that entry, or only those beyond it, move at all. Rows that are
    not `visible` keep values and moments. What is bfloat16 of values and moments is rounded at
    random, as (count, element) has it; a dense gradient of such values may be bfloat16 too.

    With `aside` it may go on after the call, on threads that have nothing else to do: nobody may
    read or write values, moments and gradient until `finish` was called with the number returned
    (0: it is done already). What it writes is the same.
    """
    rows, head, columns = _counts(values)
    begin, end = {"all": (0, columns), "head": (0, head), "tail": (head, columns)}[part]
    given, degree = _given(gradient, values, columns)
    if degree is not None:
        # Bands that were never drawn have had no gradient: their step would be 0.
        end = min(end, 3 * (degree + 1) ** 2)
    # What is computed in: of values that are bfloat16 the gradient's type.
    like = given if is_half(values) else values
    if first.dtype != second.dtype or first.device != second.device:
        same_kind(first=first, second=second)  # which says so
    _checked(like, values, values=values, first=first, second=second)
    if degree is None:
        _checked(like, values, gradient=given)
    seen = None if visible is None else _seen(visible, values)
    if begin >= end:
        return 0
    half = first.dtype == torch.bfloat16
    numbers = [
        rate, rate * tail, *betas, epsilon, 1 - betas[0] ** count, 1 - betas[1] ** count,
    ]  # fmt: skip
    dense, factors = (given, None) if degree is None else (None, given)
    arrays = addresses(values, dense, first, second, factors, seen)
    seed = count * 0x9E3779B1 % 2**32
    if values.is_cuda:
        if is_half(values):
            raise ValueError(
                "the CUDA kernels move float32 values and were given bfloat16; keep them as float32"
            )
        single(values)
        with torch.cuda.device(values.device):
            cuda().adam(
                [*arrays[:4], arrays[5]], rows, columns, head, [begin, end], numbers, half, seed,
                stream(values),
            )  # fmt: skip
        return 0
    number = cpu.adam(
        table_of(like), arrays, rows, columns, head, [begin, end], numbers, degree or 0, half,
        seed, is_half(values), aside,
    )  # fmt: skip
    hold(number, values, given, first, second, seen)
    return number


def _given(
    gradient: Tensor | HarmonicsGradient, values: Tensor, columns: int
) -> tuple[Tensor, int | None]:
    """What the kernels read of a gradient: itself, or its factors and their degree."""
    degree: int | None = None
    if not isinstance(gradient, HarmonicsGradient):
        given = gradient.contiguous()
    elif columns > 48 or values.is_cuda:
        given = gradient.dense(values.shape[1])
    else:
        given, degree = gradient.factors.contiguous(), gradient.degree
        shaped("the gradient's factors", given, (values.shape[0], 6))
        if not is_half(values):
            same_kind(values=values, factors=given)
    if is_half(values):
        given = given.float() if degree is None and is_half(given) else given
        if given.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"gradient is {given.dtype}, of values that are bfloat16; expected float32 or"
                " bfloat16"
            )
    return given, degree


def _seen(visible: Bool[Tensor, "n"], values: Tensor) -> Tensor:
    """Rows that move, as the kernels read them."""
    shaped("visible", visible, (values.shape[0],))
    if visible.dtype != torch.bool or visible.device != values.device:
        raise ValueError(
            f"visible is {visible.dtype} on {visible.device}; expected torch.bool on"
            f" {values.device}"
        )
    return visible.contiguous().view(torch.uint8)


def _counts(values: Tensor) -> tuple[int, int, int]:
    """Rows, columns that are the head, and all columns."""
    shape = values.shape
    rows = shape[0]
    columns = values.numel() // rows if rows else 1
    return rows, (columns // shape[1] if len(shape) == 3 else columns), columns


def _checked(like: Tensor, of: Tensor, /, **tensors: Tensor) -> None:
    shape, dtype, device = of.shape, like.dtype, like.device
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise ValueError(f"{name} is not contiguous; adam works in place on whole columns")
        if tensor.shape != shape:
            shaped(name, tensor, shape)
        fits = tensor.dtype == dtype or (name != "gradient" and is_half(tensor))
        if not fits or tensor.device != device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, the values are {like.dtype} on"
                f" {like.device}; they must agree"
            )
