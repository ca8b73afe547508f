"""The random walk of 3DGS-MCMC, and how rows are moved by what it gives."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from splat.kernels import output
from splat.kernels.native import address, addresses, cpu, plain, same_kind, shaped, table_of


def walk(
    quats: Float[Tensor, "n 4"],
    log_scales: Float[Tensor, "n 3"],
    logits: Float[Tensor, "n"],
    *,
    reach: float,
    dead: float,
    steepness: float,
    quiet: float,
    every: int = 1,
    phase: int = 0,
    seed: int = 0,
) -> Float[Tensor, "n 3"]:
    """Steps Sigma e gate of the means, world units; e is normal, drawn from (seed, row) alone.

    gate = logistic(steepness (dead - opacity)), times `reach` (Kheradmand et al. 2024, eq. 9). Rows
    whose logit is `quiet` or more stay, as do those whose number is not `phase` modulo `every`.
    On the CPU only.
    """
    n = logits.shape[0]
    shaped("quats", quats, (n, 4))
    shaped("log_scales", log_scales, (n, 3))
    if not 0 <= phase < every:
        raise ValueError(
            f"phase is {phase} of {every}; expected 0 to {every - 1}, every at least 1"
        )
    same_kind(quats=quats, log_scales=log_scales, logits=logits)
    given = [plain(t) for t in (quats, log_scales, logits)]
    delta = output.rows.empty(n, 3, dtype=logits.dtype)
    cpu.walk(
        table_of(logits), addresses(*given, delta),
        n, every, phase, [quiet, dead, steepness, reach], seed % 2**64,
    )  # fmt: skip
    return delta


@torch.no_grad()
def add(values: Tensor, delta: Tensor) -> None:
    """values += delta, in place.

    On the CPU by all threads, of contiguous floats of one type; anything else by torch.
    """
    delta = delta.to(values.device)
    shaped("delta", delta, tuple(values.shape))
    floats = values.dtype == delta.dtype and values.dtype in (torch.float32, torch.float64)
    dense = values.is_contiguous() and delta.is_contiguous()
    if values.device.type == "cpu" and floats and dense:
        cpu.add(table_of(values), address(values), address(delta), values.numel())
    else:
        values.add_(delta)
