"""Adam that leaves alone what a step has not touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from splat import kernels


class LazyAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015); in groups with `lazy` vectors (last axis) without any gradient
    keep values and moments, as rows out of sight do.

    State by parameter: `exp_avg`, `exp_avg_sq` and `step`, as torch's has them.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        """Groups with their `params`, `lr` and `lazy`."""
        super().__init__(groups, {"betas": (0.9, 0.999), "eps": 1e-15, "lazy": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["step"] = torch.zeros(())
        state["step"] += 1
        gradient = parameter.grad
        assert gradient is not None
        columns = parameter.shape[-1]
        values, given, first, second = (
            each.detach().view(-1, columns)
            for each in (parameter, gradient.contiguous(), state["exp_avg"], state["exp_avg_sq"])
        )
        touched = given.abs().amax(1) != 0 if group["lazy"] else None
        settings: dict[str, Any] = {"rate": float(group["lr"]), "count": int(state["step"])}
        settings |= {"betas": group["betas"], "epsilon": group["eps"]}
        if parameter.device.type == "cpu":
            kernels.adam(values, given, first, second, visible=touched, **settings)
        else:
            _by_torch(values, given, first, second, touched, **settings)


def _by_torch(
    values: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    touched: Tensor | None,
    *,
    rate: float,
    count: int,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """`kernels.adam` in torch's operations."""
    move = 1.0 if touched is None else touched[:, None].to(gradient)
    first.lerp_(gradient, move * (1 - betas[0]))
    second.lerp_(gradient.square(), move * (1 - betas[1]))
    root = (second / (1 - betas[1] ** count)).sqrt_().add_(epsilon)
    values.sub_(move * (rate / (1 - betas[0] ** count)) * first / root)
