"""A budget of Gaussians or of bytes, laid on whatever strategy a run has."""

from __future__ import annotations

import logging

from splat import export
from splat.options import Options, amount
from splat.strategies.budget import kept_within
from splat.strategy import Strategy

_log = logging.getLogger(__name__)


def rows_within(budget: str, sh_degree: int, suffix: str = ".ply") -> int:
    """Most rows of a budget such as 200k, or of 12MB of a file with so many bands."""
    count, of_bytes = amount(budget)
    if not of_bytes:
        return count
    rows = export.most_in(count, sh_degree, suffix)
    if rows < 1:
        raise ValueError(
            f"budget is {budget}, which holds no Gaussian: a {suffix} of one has"
            f" {export.size_of(1, sh_degree, suffix):,} bytes; give more, such as 12MB"
        )
    return rows


def limited(strategy: Strategy, options: Options) -> Strategy:
    """The strategy within the budget asked for; what that means is said aloud."""
    if options.budget is None:
        return strategy
    suffix, (count, of_bytes) = options.budget_of, amount(options.budget)
    if of_bytes and strategy.row_bytes:
        rows, unit = max(1, count // strategy.row_bytes), strategy.handles
        what = f"of {strategy.row_bytes:,} bytes each, before they are coded"
    else:
        rows = rows_within(options.budget, options.sh_degree, suffix)
        unit = "Gaussians" if strategy.handles in ("", "gaussians") else strategy.handles
        what = f"of a {suffix} with {options.sh_degree} bands of harmonics"
    text = f"at most {rows:,} {unit}"
    if of_bytes:
        text += f", {options.budget} {what}"
    if strategy.cap > rows:
        text += f"; the method's cap of {strategy.cap:,} is higher"
    elif 0 < strategy.cap < rows:
        text = f"the method's cap of {strategy.cap:,} {unit} holds, it is lower than {rows:,}"
    _log.info("budget    %s", text)
    return kept_within(strategy, rows)
