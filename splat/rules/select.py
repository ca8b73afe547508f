"""Selection of rows by score: the highest, or a draw in proportion to it.

Drawing with replacement, where one row may be taken several times, is `relocation.drawn_rows`.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.core.shard import WHOLE, Shard

Mode = Literal["top", "multinomial"]
"""top: the highest, of equals the first; multinomial: drawn in proportion, no row twice."""


def select(
    score: Float[Tensor, "n"],
    k: int,
    mode: Mode = "top",
    generator: torch.Generator | None = None,
    shard: Shard = WHOLE,
) -> Int[Tensor, "k"]:
    """At most `k` rows of a score above 0, ascending; of the rows of a `shard` those that are among
    the `k` of all.

    Without replacement one draws by the largest log(score) + Gumbel noise (Kool et al. 2019),
    which is as if rows were drawn one after the other, each in proportion to its score among
    those that are left.
    """
    if torch.isnan(score).any() or (score < 0).any():
        wrong = int((torch.isnan(score) | (score < 0)).sum())
        raise ValueError(
            f"{wrong} of {len(score)} scores are negative or no number; expected 0 or more: look"
            " for rows whose columns are not finite"
        )
    rows = (score > 0).nonzero().squeeze(1)
    key = score.index_select(0, rows).double()
    if mode == "multinomial":
        u = torch.rand(len(rows), generator=generator, dtype=torch.float64, device=score.device)
        key = key.log() - (-u.log()).log()
    if k >= shard.total(len(rows)):
        return rows
    taken = shard.lowest(-key, k)
    return rows.index_select(0, taken).sort().values
