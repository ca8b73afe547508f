"""Relocation: opacity and scale of several Gaussians in the place of one, and who is copied.

The rule of 3DGS-MCMC (Kheradmand et al. 2024, arXiv 2404.09591): n copies in one place
have together the opacity of the one at its centre, and the same integral along any line through
it. Everywhere else the picture changes, for opaque rows visibly: by 0.006 in alpha at opacity 0.5
and two copies, by 0.08 at 0.99.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from splat.core.shard import WHOLE, Shard

Relocation = Literal["line", "area"]
"""What copies keep beside the peak: the integral along a line (published) or over the picture."""

MOST_COPIES = 51
"""Most copies of one row at once (as released); beyond it the alternating sum loses digits."""


def copies_logit(
    opacity_logit: Float[Tensor, "n"], copies: Int[Tensor, "n"] | float
) -> Float[Tensor, "n"]:
    """Opacity (logit, float64) of each of `copies` that compose to the given one: 1-(1-o)^(1/n)."""
    # softplus(logit) = -log(1 - o): exact however opaque the row is, where 1 - o would be 0.
    share = softplus(opacity_logit.double()) / copies
    return torch.log(-torch.expm1(-share)) + share


def shrink(
    opacity_logit: Float[Tensor, "n"], copies: Int[Tensor, "n"], relocation: Relocation = "line"
) -> Float[Tensor, "n"]:
    """Factor for all three scales of each copy, float64."""
    opacity = opacity_logit.double().sigmoid()
    share = softplus(opacity_logit.double()) / copies
    terms = torch.arange(1, int(copies.max()) + 1, device=copies.device, dtype=torch.float64)
    if relocation == "area":
        mass = -torch.expm1(-share[:, None] * terms) / terms
        return (opacity / mass.where(terms <= copies[:, None], 0).sum(1)).sqrt()
    powers = (-torch.expm1(-share))[:, None].expand(-1, len(terms)).cumprod(1)
    line = _line_coefficients().to(copies.device)[copies, : len(terms)]
    return opacity / (line * powers).sum(1)


@functools.cache
def _line_coefficients() -> Float[Tensor, "n j"]:
    """(-1)^(j+1) C(n, j) / sqrt(j) for n of 0 to 51 (rows) and j of 1 to 51."""
    return torch.tensor(
        [
            [(-1) ** (j + 1) * math.comb(n, j) / math.sqrt(j) for j in range(1, MOST_COPIES + 1)]
            for n in range(MOST_COPIES + 1)
        ],
        dtype=torch.float64,
    )


def most_copies(opacity_logit: Float[Tensor, "n"], dead: float) -> Int[Tensor, "n"]:
    """Most copies of each row before each of them is as faint as `dead`.

    Differs: the released code clamps the copies' opacity from below instead, which makes faint
    rows brighter (0.1 in 50 copies composes to 0.22).
    """
    most = softplus(opacity_logit.double()) / -math.log1p(-dead)
    return most.clamp_max(MOST_COPIES).long()


def drawn_rows(
    weights: Float[Tensor, "n"], count: int, generator: torch.Generator
) -> Int[Tensor, "count"] | None:
    """Rows drawn with replacement in proportion to their weights; None where all are zero."""
    # torch.multinomial takes no more than 2^24 rows; float64 sums tell apart far more.
    total = weights.double().cumsum(0)
    if not len(total) or not float(total[-1]) > 0:
        return None
    u = torch.rand(count, generator=generator, dtype=torch.float64, device=weights.device)
    last = torch.searchsorted(total, total[-1:])
    return torch.searchsorted(total, u * total[-1], right=True).minimum(last)


@dataclass(frozen=True)
class Shares:
    """Rows that turn into several, and what each of them and of their copies looks like."""

    rows: Int[Tensor, "m"]
    """Unique rows, ascending."""
    opacity_logit: Float[Tensor, "m"]
    log_scale: Float[Tensor, "m 3"]
    hosts: Int[Tensor, "c"]
    """The row of every copy, ascending. Fewer than asked for where rows can take no more."""


def shares(
    opacity_logit: Float[Tensor, "n"],
    log_scale: Float[Tensor, "n 3"],
    count: int,
    generator: torch.Generator,
    dead: float,
    relocation: Relocation,
    shard: Shard = WHOLE,
) -> Shares | None:
    """Place `count` copies on rows drawn in proportion to opacity; None where none can be.

    Where the rows are a `shard` of a run's, `count` is of all, and those are placed that fall to
    these rows.
    """
    limit = most_copies(opacity_logit, dead)
    weights = opacity_logit.double().sigmoid().where(limit >= 2, 0)
    if count > 0 and not shard.whole:
        count = shard.divided(weights.sum(), count, generator)
    targets = drawn_rows(weights, count, generator) if count > 0 else None
    if targets is None:
        return None
    extra = torch.bincount(targets, minlength=len(limit)).minimum(limit - 1)
    rows = (extra > 0).nonzero().squeeze(1)
    copies, logit = extra[rows] + 1, opacity_logit[rows]
    narrower = shrink(logit, copies, relocation).log()[:, None]
    return Shares(
        rows,
        copies_logit(logit, copies).to(opacity_logit.dtype),
        (log_scale[rows] + narrower).to(log_scale.dtype),
        torch.repeat_interleave(rows, extra[rows]),
    )


def rotated(quats: Float[Tensor, "n 4"], vectors: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Vectors turned out of the frame of each Gaussian; quats (w, x, y, z), of any length."""
    axis = quats[:, 1:]
    once: Tensor = torch.linalg.cross(axis, vectors)
    twice: Tensor = torch.linalg.cross(axis, once).addcmul_(quats[:, :1], once)
    return vectors + twice.mul_(2 / quats.square().sum(1, keepdim=True))
