"""Options of a run that stand for parts of a recipe, such as `--budget` and `--clear-air`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splat.core.region import box_of
from splat.core.strategy import Strategy, Wrapper
from splat.export.quantisation import steps_before_rounding
from splat.options import Options
from splat.recipes.catalog import PARTS, kind_of
from splat.rules.views import VIEWS_SHARE


def with_part(name: str, base: Strategy, fields: Mapping[str, Any], option: str) -> Strategy:
    """A strategy wrapped in a part of the catalog, for an option of a run."""
    kind = kind_of(name)
    if kind is None:
        module = PARTS[name][0].partition(":")[0]
        raise ValueError(
            f"{option} is the part {name} of a recipe, and {module} is not there; install"
            " splat-toolkit whole, or leave the option out"
        )
    assert issubclass(kind, Wrapper)
    return kind(base=base, **fields)


def with_row_limit(strategy: Strategy, rows: int) -> Strategy:
    """A strategy that never has more rows: by its own cap, or by a `budget` where it has none."""
    limited = strategy.limited(rows)
    if limited.cap and limited.cap <= rows:
        return limited
    return with_part("budget", limited, {"rows": rows, "curve": "constant"}, "budget")


def with_run_options(strategy: Strategy, options: Options, steps: int) -> Strategy:
    """A strategy fitted to a run of `steps`, with the parts that options of the run stand for.

    `--finish-keep` is `+ significance`, once, as the last phase begins; `--crop` is `+ crop`;
    `--smoothing` is `+ smoothing`; `--clear-air` is `+ clear-air`.
    """
    if options.finish_keep < 1:
        at = max(1, steps_before_rounding(steps, options.finish_share))
        fields = {
            "score": "squared",
            "at": (at,),
            "keep": options.finish_keep,
            "how": "shrink",
            "views": max(1, steps // VIEWS_SHARE),
        }
        strategy = with_part("significance", strategy, fields, "finish-keep")
    if options.crop is not None:
        box = box_of(options.crop)
        strategy = with_part("crop", strategy, {"low": box.low, "high": box.high}, "crop")
    if options.smoothing:
        strategy = with_part("smoothing", strategy, {"last": steps}, "smoothing")
    if options.clear_air and kind_of("clear-air") is not None:
        strategy = with_part("clear-air", strategy, {"last": steps}, "clear-air")
    return strategy
