"""What a strategy is made of: parts, the docstrings of their fields, statistics of rows."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import torch

from splat.core.model import Making
from splat.core.strategy import Strategy
from splat.system.text import docs_of_fields

Way = tuple[str | int, ...]
"""The way from a strategy to something in it: names of fields, and places in tuples."""


def parts_with_ways(strategy: Strategy, way: Way = ()) -> Iterator[tuple[Way, Strategy]]:
    """A strategy and those in its fields, the inner ones first, in the order of its recipe."""
    for field in fields_of(strategy):
        value = getattr(strategy, field.name)
        if isinstance(value, Strategy):
            yield from parts_with_ways(value, (*way, field.name))
        elif isinstance(value, tuple):
            for place, each in enumerate(value):
                if isinstance(each, Strategy):
                    yield from parts_with_ways(each, (*way, field.name, place))
    yield way, strategy


def with_value(part: Any, way: Way, value: Any) -> Any:
    """A dataclass, or a tuple, with another value at the end of a way; its checks run anew."""
    first, *rest = way
    if isinstance(first, int):
        whole = list(part)
        whole[first] = with_value(whole[first], tuple(rest), value) if rest else value
        return tuple(whole)
    new = with_value(getattr(part, first), tuple(rest), value) if rest else value
    return dataclasses.replace(part, **{first: new})


def fields_of(part: Any) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of a dataclass; none of any other object."""
    return dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()


def field_docs(kind: type[Any]) -> dict[str, str]:
    """The docstrings under the fields of a dataclass and of those it derives from."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue  # made at run time, or built in
        own = docs_of_fields(tree.body[0])
        docs |= {name: " ".join(text.split()) for name, text in own.items()}
    return docs


def statistic_shapes(strategy: Strategy) -> dict[str, tuple[int, ...]]:
    """The statistics that a strategy tracks, by name, and the shape of one row of each.

    Raises ValueError where its parts do not go together, as the start of a run would.
    """
    rows = {"mean": torch.eye(3)[:2], "quat": torch.ones(2, 4), "log_scale": torch.zeros(2, 3)}
    rows |= {"opacity_logit": torch.zeros(2), "sh": torch.zeros(2, 1, 3)}
    model = strategy.model(rows, Making(steps=1))
    strategy.begin(model)
    cloud = model.cloud
    return {name: tuple(cloud.statistic(name).shape[1:]) for name in cloud.statistics}


def statistics(strategy: Strategy) -> tuple[str, ...]:
    """Names of the statistics that a strategy tracks; raises as `statistic_shapes`."""
    return tuple(statistic_shapes(strategy))
