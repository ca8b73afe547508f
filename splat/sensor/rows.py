"""Adam for tables of which a step shows one row: the others stay where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from splat.core.column import BETAS, EPSILON


class RowAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) that moves only rows with a gradient, each with its own step count.

    A photo's parameters have a gradient once an epoch. Plain Adam would go on moving them by their
    momentum at all the steps between, and correct their bias by steps that they never made.
    """

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the rows, numbered by the first axis, whose gradient is not all zero.

        At a rate of zero moments stay as they are, too.
        """
        assert closure is None
        for group in self.param_groups:
            for values in group["params"]:
                if values.grad is not None and group["lr"]:
                    self._move(values, group["lr"])

    def _move(self, values: torch.Tensor, rate: float) -> None:
        state = self.state[values]
        if not state:
            state["first"], state["second"] = torch.zeros_like(values), torch.zeros_like(values)
            state["count"] = values.new_zeros(len(values))
        assert values.grad is not None
        rows = values.grad.reshape(len(values), -1).any(1).nonzero()[:, 0]
        gradient = values.grad[rows]
        state["count"][rows] += 1
        shape = (-1,) + (1,) * (values.ndim - 1)
        count = state["count"][rows].reshape(shape)
        first = state["first"][rows].lerp_(gradient, 1 - BETAS[0])
        second = state["second"][rows].lerp_(gradient.square(), 1 - BETAS[1])
        state["first"][rows], state["second"][rows] = first, second
        spread = (second / (1 - BETAS[1] ** count)).sqrt_().add_(EPSILON)
        values[rows] -= rate * first / (1 - BETAS[0] ** count) / spread
