"""Newton's steps for tables of which a step shows one row, and whose loss is nearly quadratic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from splat.core.column import Rate

MOST_PIXELS = 40_000
"""Most pixels that a curvature is computed on."""
LEAST_ERROR = 0.02
"""Threshold of the Huber loss: below it errors are squared rather than absolute."""
DAMPED = 1e-3
"""Damping (Levenberg-Marquardt): share of its diagonal that is added to the curvature."""


BEGIN, LOOKS, LATEST = 0.1, 10, 0.4
"""Share of a run after which rows move, or so many looks at each photo if that is later, but after
this share at the latest: before, there is no scene to hold photos against, and what it gets wrong
would be learned as theirs."""


@dataclass(frozen=True)
class Later:
    """A learning rate that is zero before the step `begin`."""

    rate: Rate
    begin: int

    def __call__(self, step: int) -> float:
        return 0.0 if step < self.begin else self.rate(step)


def later(start: float, end: float, steps: int, views: int) -> Later:
    """A learning rate that is zero until a run of `steps` on so many views has a scene."""
    begin = max(BEGIN * steps, min(LOOKS * views, LATEST * steps))
    return Later(Rate(start, end, steps), round(begin))


class Newton(torch.optim.Optimizer):
    """Newton's method on the rows of views that were drawn, by a quadratic model of the loss.

    A photo has its turn a few dozen times in a run: too seldom for descent, to which a turn and a
    shift of a camera, or a gain and a bias, look almost alike. The gradient is that of the whole
    loss, from the renderer; the curvature is set by `bend` after the forward pass.
    """

    def __init__(self, table: torch.nn.Parameter, farthest: float, momentum: float = 0.0) -> None:
        """A table [views, numbers], how far a step may move a number, and which share of a row's
        last motion it makes again."""
        super().__init__([table], {"lr": 1.0})
        self._farthest, self._momentum = farthest, momentum
        self.bent: dict[int, Float[Tensor, "k k"]] = {}
        """Rows of the photos of this step, and the curvature (second derivatives) of the loss by
        their numbers."""

    def bend(self, row: int, curvature: Float[Tensor, "k k"]) -> None:
        """Set the curvature of a photo that was drawn; of one that is drawn twice they add up."""
        self.bent[row] = self.bent[row] + curvature if row in self.bent else curvature

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients and curvatures: both are those of the photos of one step."""
        super().zero_grad(set_to_none)
        self.bent = {}

    @torch.no_grad()
    def meet(self, gathered: Callable[[Tensor], Tensor], each: int = 1) -> None:
        """Take the rows and curvatures of all processes, of `each` photos at most: `gathered`
        stacks a tensor of each. Gradients must be sums over processes."""
        (table,) = self.param_groups[0]["params"]
        side = table.shape[1]
        own = torch.full((each, 1 + side * side), -1.0, dtype=torch.float64, device=table.device)
        for line, (row, curvature) in zip(own, self.bent.items(), strict=False):
            line[0], line[1:] = row, curvature.flatten()
        self.bent = {}
        for line in gathered(own).flatten(0, 1):
            row, curvature = int(line[0]), line[1:].view(side, side)
            if row >= 0:
                self.bend(row, curvature)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step for the row of each photo that was drawn."""
        assert closure is None
        (group,) = self.param_groups
        (table,) = group["params"]
        if table.grad is not None and group["lr"]:
            for row, curvature in self.bent.items():
                self._move(table, row, curvature, group["lr"])
        self.bent = {}

    def _move(self, table: Tensor, row: int, curvature: Float[Tensor, "k k"], rate: float) -> None:
        assert table.grad is not None
        motion = downhill(table.grad[row], curvature, rate, self._farthest)
        if self._momentum:
            last = self.state[table].setdefault("last", torch.zeros_like(table))
            motion += self._momentum * last[row]
            last[row] = motion
        table[row] += motion


def downhill(
    gradient: Float[Tensor, "k"],
    curvature: Float[Tensor, "k k"],
    rate: float,
    farthest: float,
) -> Float[Tensor, "k"]:
    """`rate` times Newton's step, shortened to `farthest`; zero where there is none."""
    # In numpy: of half a dozen numbers, torch's calls would take longer than what they do.
    bent = curvature.cpu().numpy()
    try:
        motion = np.linalg.solve(
            bent + DAMPED * np.diag(bent.diagonal()), -rate * gradient.double().cpu().numpy()
        )
    except np.linalg.LinAlgError:
        return torch.zeros_like(gradient)
    if not np.isfinite(motion).all():
        return torch.zeros_like(gradient)
    motion *= min(1.0, farthest / max(np.abs(motion).max(), 1e-12))
    return torch.from_numpy(motion).to(gradient)


def huber_error(
    image: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"]
) -> Float[Tensor, "h w"]:
    """Huber loss of every pixel: absolute error, squared near 0; `error_curvature` bends it."""
    huber: Tensor = functional.huber_loss(image, photo, reduction="none", delta=LEAST_ERROR)
    return huber.mean(-1) / LEAST_ERROR


def error_curvature(errors: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Curvature of an absolute error r, that of r^2 / 2 |r|: 1 / |r|, bounded."""
    return 1 / errors.clamp_min(LEAST_ERROR)
