"""The random walk of 3DGS-MCMC, and how rows are moved by what it gives."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from splat.kernels import output
from splat.kernels.crossing import needed, plain, rows_of, shaped
from splat.kernels.native import cpu, cuda, single, stream, table_of


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
    """
    n = rows_of("logits", logits)
    if not 0 <= phase < every:
        raise ValueError(
            f"phase is {phase} of {every}; expected 0 to {every - 1}, every at least 1"
        )
    quats, log_scales, logits = plain(quats), plain(log_scales), plain(logits)
    delta = output.rows.beside(quats, n, 3)
    arrays = needed(
        quats, quats=(quats, (n, 4)), log_scales=(log_scales, (n, 3)), logits=(logits, (n,)),
        delta=(delta, (n, 3)),
    )  # fmt: skip
    moves = {"n": n, "every": every, "phase": phase, "seed": seed % 2**64}
    gate = {"quiet": quiet, "dead": dead, "steepness": steepness, "reach": reach}
    if quats.is_cuda:
        single(quats)
        with torch.cuda.device(quats.device):
            cuda().walk({**arrays, **moves, **gate, "stream": stream(quats)})
        return delta
    cpu.walk(table_of(quats), {**arrays, **moves, **gate})
    return delta


@torch.no_grad()
def add(values: Tensor, delta: Tensor) -> None:
    """values += delta, in place.

    On the CPU by all threads, of contiguous floats of one type; anything else by torch.
    """
    delta = delta.to(values.device)
    shaped("delta", delta, values.shape)
    floats = values.dtype == delta.dtype and values.dtype in (torch.float32, torch.float64)
    dense = values.is_contiguous() and delta.is_contiguous()
    if values.device.type == "cpu" and floats and dense:
        shape = values.shape
        arrays = needed(values, values=(values, shape), delta=(delta, shape))
        cpu.add(table_of(values), {**arrays, "n": values.numel()})
    else:
        values.add_(delta)
