"""Moving Gaussians at an instant: means along a line, opacities that fade in time."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat import math
from splat.kernels import output
from splat.kernels.crossing import needed, optional, plain, rows_of, shaped
from splat.kernels.native import cpu, table_of


def moment(
    means: Float[Tensor, "n 3"],
    opacities: Float[Tensor, "n"],
    times: Float[Tensor, "n"],
    log_durations: Float[Tensor, "n"],
    velocities: Float[Tensor, "n 3"],
    *,
    at: float,
    least: float,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Means and opacities at the instant `at`, differentiably: `splat.math.moment` of `durations`.

    On the CPU in one pass of our own, elsewhere by torch.
    """
    n = rows_of("means", means, 3)
    for name, values in (
        ("opacities", opacities),
        ("times", times),
        ("log_durations", log_durations),
    ):
        shaped(name, values, (n,))
    shaped("velocities", velocities, (n, 3))
    if means.device.type != "cpu":
        lasting = durations(log_durations, least)
        return math.moment(means, opacities, times, lasting, velocities, at)
    found: tuple[Tensor, Tensor] = _Moment.apply(  # type: ignore[no-untyped-call]
        means, opacities, times, log_durations, velocities, at, least
    )
    return found


def durations(log_durations: Float[Tensor, "n"], least: float) -> Float[Tensor, "n"]:
    """sqrt(exp(log_durations)^2 + least^2): as Gaussians in time, each convolved with one that is
    `least` long. What lasts (`splat.math.LASTING`) is left as it is."""
    own = log_durations.exp()
    return torch.where(own < math.LASTING, (own.square() + least**2).sqrt(), own)


class _Moment(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        opacities: Tensor,
        times: Tensor,
        log_durations: Tensor,
        velocities: Tensor,
        at: float,
        least: float,
    ) -> tuple[Tensor, Tensor]:
        given = [plain(each) for each in (means, opacities, times, log_durations, velocities)]
        moved, faded = output.rows.empty_like(given[0]), output.rows.empty_like(given[1])
        n = len(given[1])
        arrays = needed(
            given[0], means=(given[0], (n, 3)), opacities=(given[1], (n,)), times=(given[2], (n,)),
            log_durations=(given[3], (n,)), velocities=(given[4], (n, 3)),
            moved=(moved, (n, 3)), faded=(faded, (n,)),
        )  # fmt: skip
        cpu.moment(table_of(given[0]), {**arrays, "n": n, "at": at, "least": least})
        ctx.save_for_backward(*given[1:4])
        ctx.at, ctx.least = at, least
        ctx.set_materialize_grads(False)
        return moved, faded

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        opacities, times, log_durations = ctx.saved_tensors
        v_moved, v_faded = map(plain, gradients)
        n = len(opacities)
        v_opacities, v_times, v_logs = (output.rows.empty_like(opacities) for _ in range(3))
        v_velocities = torch.empty(n, 3, dtype=opacities.dtype)
        arrays = {
            **needed(
                opacities, opacities=(opacities, (n,)), times=(times, (n,)),
                log_durations=(log_durations, (n,)), v_opacities=(v_opacities, (n,)),
                v_times=(v_times, (n,)), v_log_durations=(v_logs, (n,)),
                v_velocities=(v_velocities, (n, 3)),
            ),
            **optional(opacities, v_moved=(v_moved, (n, 3)), v_faded=(v_faded, (n,))),
        }  # fmt: skip
        values = {"n": n, "at": ctx.at, "least": ctx.least}
        cpu.moment_backward(table_of(opacities), {**arrays, **values})
        return v_moved, v_opacities, v_times, v_logs, v_velocities, None, None
