"""Adam on whole columns."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.kernels.aside import hold
from splat.kernels.crossing import is_half, needed, optional, same_kind
from splat.kernels.harmonics import HarmonicsGradient
from splat.kernels.native import cpu, cuda, single, stream, table_of

LEAST_FACTORED = 12
"""Columns of harmonics from which the CUDA kernel takes factors."""


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
    half, shape = is_half(first), values.shape
    if first.dtype != second.dtype:
        same_kind(first=first, second=second)  # which says so
    dense, factors = (given, None) if degree is None else (None, given)
    seen = None if visible is None else visible.contiguous()
    # In place, so that what is not contiguous is refused.
    arrays = {
        **needed(like, values.dtype if like is given else None, values=(values, shape)),
        **needed(
            like, torch.bfloat16 if half else None, first=(first, shape), second=(second, shape)
        ),
        **optional(like, gradient=(dense, shape)),
        **optional(like, torch.bool, visible=(seen, (rows,))),
    }
    by_factors = optional(like, factors=(factors, (rows, 6)))
    if begin >= end:
        return 0
    step: dict[str, Any] = {
        "rows": rows, "columns": columns, "head": head, "begin": begin, "end": end, "rate": rate,
        "tail_rate": rate * tail, "beta1": betas[0], "beta2": betas[1], "epsilon": epsilon,
        "correction1": 1 - betas[0] ** count, "correction2": 1 - betas[1] ** count, "half": half,
        "seed": count * 0x9E3779B1 % 2**32, "half_values": is_half(values),
    }  # fmt: skip
    if values.is_cuda:
        single(like)
        with torch.cuda.device(values.device):
            cuda().adam(
                {**arrays, **by_factors, **step, "degree": degree or 0, "stream": stream(values)}
            )
        return 0
    number = cpu.adam(
        table_of(like),
        {**arrays, **by_factors, **step, "degree": degree or 0, "aside": aside},
    )
    hold(number, values, given, first, second, seen)
    return number


def _given(
    gradient: Tensor | HarmonicsGradient, values: Tensor, columns: int
) -> tuple[Tensor, int | None]:
    """What the kernels read of a gradient: itself, or its factors and their degree."""
    degree: int | None = None
    if not isinstance(gradient, HarmonicsGradient):
        given = gradient.contiguous()
    elif columns > 48 or (values.is_cuda and columns < LEAST_FACTORED):
        given = gradient.dense(values.shape[1])
    else:
        given, degree = gradient.factors.contiguous(), gradient.degree
    if is_half(values):
        given = given.float() if degree is None and is_half(given) else given
        if given.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"gradient is {given.dtype}, of values that are bfloat16; expected float32 or"
                " bfloat16"
            )
    return given, degree


def _counts(values: Tensor) -> tuple[int, int, int]:
    """Rows, columns that are the head, and all columns."""
    shape = values.shape
    if not shape:
        raise ValueError("values has shape (), expected (n, ...)")
    rows = shape[0]
    columns = values.numel() // rows if rows else 1
    return rows, (columns // max(1, shape[1]) if len(shape) == 3 else columns), columns
