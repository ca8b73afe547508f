"""A budget of Gaussians or of bytes, laid on whatever strategy a run has."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from splat.core.model import Making, Model, columns_of
from splat.core.strategy import Fixed, Strategy
from splat.formats import rows_within
from splat.options import Options
from splat.planning.ladder import rung_for
from splat.planning.memory_budget import Wanted, ration_memory
from splat.recipes.parts import with_row_limit
from splat.system.numbers import amount
from splat.types import Gaussians, SceneData

_log = logging.getLogger(__name__)


def within_budget(strategy: Strategy, options: Options) -> Strategy:
    """The strategy within the budget asked for; the limit is logged."""
    if options.budget is None:
        return strategy
    suffix, (count, of_bytes) = options.budget_of, amount(options.budget)
    if of_bytes and strategy.row_bytes:
        rows, unit = max(1, count // strategy.row_bytes), strategy.handles
        unit_text = f"of {strategy.row_bytes:,} bytes each in the method's own file"
    else:
        rows = rows_within(options.budget, options.sh_degree, suffix)
        unit = "Gaussians" if strategy.handles in ("", "gaussians") else strategy.handles
        unit_text = f"of a {suffix} with {options.sh_degree} bands of harmonics"
    text = f"at most {rows:,} {unit}"
    if of_bytes:
        text += f", {options.budget} {unit_text}"
    if strategy.cap > rows:
        text += f"; the method's cap of {strategy.cap:,} is higher"
    elif 0 < strategy.cap < rows:
        text = f"the method's cap of {strategy.cap:,} {unit} holds, it is lower than {rows:,}"
    _log.info("budget    %s", text)
    return with_row_limit(strategy, rows)


def within_memory(
    scene: SceneData,
    strategy: Strategy,
    options: Options,
    device: torch.device,
    *,
    cap_asked: bool = True,
    processes: int = 1,
) -> tuple[Strategy, Options]:
    """Strategy and options within the memory asked for (`splat.planning.memory_budget`), of which
    each of so many processes on a machine has its share; what gives way is said aloud."""
    if options.memory is None:
        return strategy, options
    draws = strategy.draws
    points = scene.points if options.init is None else None
    start = rung_for(device).random_points if points is None else len(points.positions)
    wanted = Wanted(
        start=draws * (min(start, strategy.cap) if strategy.cap else start),
        cap=draws * strategy.cap,
        grows=not isinstance(strategy, Fixed),
        cap_asked=cap_asked or options.budget is not None,
        half_harmonics=model_of_one(strategy).same_for_all_views,
    )
    share = replace(options, memory=options.memory // processes)
    ration = ration_memory(scene, share, device, wanted)
    _log.info("memory    %s", ration.text)
    options = replace(ration.options, memory=options.memory)
    if ration.cap:
        strategy = with_row_limit(strategy, max(1, ration.cap // draws))
    return strategy, options


def model_of_one(strategy: Strategy) -> Model:
    """What a strategy makes of one plain Gaussian, to be asked before there is a run."""
    one = Gaussians(
        torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1, 3), torch.full((1,), 0.5),
        torch.zeros(1, 1, 3), 0,
    )  # fmt: skip
    return strategy.model(columns_of(one, 0), Making(steps=1))
