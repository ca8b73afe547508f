"""Changes to a run while it trains: the numbers of a strategy that can be turned, by their names.

`mrnf.cap` is the field `cap` of the part `mrnf`, `taming.terms.depth` a field of a field,
`significance-2.keep` that of the second part of this name. `rate` is a factor on all learning
rates. `Run.obey` makes a change, and what was made is a list of `Command`s, to be replayed.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from splat.core.fields import (
    Way,
    field_docs,
    fields_of,
    parts_with_ways,
    statistic_shapes,
    with_value,
)
from splat.core.strategy import Strategy, recipe_name_of

RATE = "rate"
"""Name of the factor on all learning rates; 1: as planned."""
MOST_RATE = 100.0
LARGEST = 2**53
"""Largest number a knob may take; up to it every whole number is a float too."""
Number = int | float
_SENTENCE = re.compile(r"(?<=[.!?])(?<!al\.)(?<!eq\.)\s+(?=[A-Z0-9])")


@dataclass(frozen=True)
class Command:
    """A change that was made, or is to be made, when so many steps are done."""

    step: int
    name: str
    """Name of a knob, or `rate`."""
    value: Number
    before: Number | None = dataclasses.field(default=None, compare=False)
    """Value before the change; None: not known, or not set."""


@dataclass(frozen=True)
class Knob:
    """A number of a strategy, as it is now."""

    value: Number
    whole: bool
    """Whether it takes whole numbers only."""
    doc: str
    """What it is, in a sentence; empty where its field has no docstring."""


@dataclass(frozen=True)
class _Spot:
    """Place of a number among the fields of a strategy."""

    way: Way
    kind: type
    """The class it is a field of."""
    whole: bool
    value: Number | None


def knobs(strategy: Strategy) -> dict[str, Knob]:
    """The numbers of a strategy and of its parts, by name, in the order of its recipe.

    Those that are not set (None) are left out; `with_knob` takes them too.
    """
    return {
        name: Knob(spot.value, spot.whole, _doc(spot))
        for name, spot in _spots(strategy).items()
        if spot.value is not None
    }


def with_knob(strategy: Strategy, name: str, value: float) -> Strategy:
    """A fitted strategy with another value at one of its knobs, all else alike.

    Raises ValueError where there is no such knob, where the strategy's own checks refuse the
    value, and where a run that goes on already could not follow.
    """
    spot = _spot(strategy, name)
    new: Strategy = with_value(strategy, spot.way, knob_value(name, value, spot.whole))
    for what, before, after in zip(_ASKED, _asked(strategy), _asked(new), strict=True):
        if before != after:
            raise ValueError(
                f"{name} cannot become {value:g} while a run goes on, which would need other"
                f" {what} from its start; begin a run with it"
            )
    return new


def after_change(strategy: Strategy, command: Command) -> tuple[Strategy, Command]:
    """A strategy with a change made (`with_knob`), and the change with all that is known of it."""
    spot = _spot(strategy, command.name)
    new = with_knob(strategy, command.name, command.value)
    value = knob_value(command.name, command.value, spot.whole)
    return new, dataclasses.replace(command, value=value, before=spot.value)


def checked_rate(value: float) -> float:
    """A factor on learning rates; raises ValueError where it is none."""
    rate = float(knob_value(RATE, value, whole=False))
    if not 0 < rate <= MOST_RATE:
        raise ValueError(
            f"{RATE} is {value:g}, expected a factor above 0 and up to {MOST_RATE:g}; 1 is as"
            " planned"
        )
    return rate


def after_changes(strategy: Strategy, script: Iterable[Command]) -> Strategy:
    """A strategy once all of these changes are made; raises ValueError where one does not fit."""
    for command in sorted(script, key=lambda each: each.step):
        try:
            if command.name == RATE:
                checked_rate(command.value)
            else:
                strategy = with_knob(strategy, command.name, command.value)
        except ValueError as error:
            raise ValueError(
                f"the change of {command.name} at step {command.step:,} does not fit this run:"
                f" {error}"
            ) from None
    return strategy


def value_text(value: Number | None) -> str:
    """A number for people."""
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


_ASKED = ("things of the renderer", "statistics of rows", "terms of the loss")
"""Names of the parts of `_asked`."""


def _asked(strategy: Strategy) -> tuple[object, object, object]:
    """What cannot change while a run goes on: needs, statistics, and needs of terms."""
    terms = {name: objective.needs for name, objective in strategy.objectives().items()}
    return strategy.needs, statistic_shapes(strategy), terms


def _spot(strategy: Strategy, name: str) -> _Spot:
    spots = _spots(strategy)
    if name in spots:
        return spots[name]
    names = [*spots, RATE]
    near = [each for each in names if each.endswith(f".{name}")]
    near = near or difflib.get_close_matches(name, names, 1)
    hint = f"perhaps you meant {' or '.join(near)}" if near else f"there are {', '.join(names)}"
    raise ValueError(f"there is no {name!r} to change; {hint}")


def knob_value(name: str, value: object, whole: bool) -> Number:
    """A value in the type of its knob; raises ValueError where it is no number for it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {value!r}, expected a number")
    if not -LARGEST <= value <= LARGEST:
        text = f"{value:g}" if isinstance(value, float) else "too large"
        raise ValueError(f"{name} is {text}, expected a finite number, at most {LARGEST:.0e}")
    if whole and value != math.floor(value):
        raise ValueError(f"{name} is {value:g}, expected a whole number")
    return int(value) if whole else float(value)


def _spots(strategy: Strategy) -> dict[str, _Spot]:
    """Places of all numbers by name, those that are not set included."""
    spots: dict[str, _Spot] = {}
    counts: Counter[str] = Counter()
    for way, part in parts_with_ways(strategy):
        name = recipe_name_of(type(part))
        counts[name] += 1
        label = name if counts[name] == 1 else f"{name}-{counts[name]}"
        spots |= {f"{label}.{own}": spot for own, spot in _numbers(part, way)}
    return spots


def _numbers(part: Any, way: Way) -> Iterator[tuple[str, _Spot]]:
    """The numbers among the fields of a dataclass and of dataclasses in them that are no parts."""
    kind = type(part)
    hints = _hints(kind)
    for field in fields_of(part):
        if not field.init or isinstance(getattr(kind, field.name, None), property):
            continue
        if field.name in getattr(kind, "of_start", ()):
            continue
        value, place = getattr(part, field.name), (*way, field.name)
        names = _type_names(hints.get(field.name, field.type))
        if dataclasses.is_dataclass(value) and not isinstance(value, type | Strategy):
            for name, spot in _numbers(value, place):
                yield f"{field.name}.{name}", spot
        elif names - {"None"} and names <= {"int", "float", "None"} and not _odd(value):
            yield field.name, _Spot(place, kind, "float" not in names, value)


def _odd(value: object) -> bool:
    return value is not None and (isinstance(value, bool) or not isinstance(value, int | float))


def _hints(kind: type[Any]) -> dict[str, Any]:
    """Types of fields; none where a class names one that is not there when it runs."""
    try:
        return typing.get_type_hints(kind)
    except (NameError, TypeError):
        return {}


def _type_names(hint: Any) -> set[str]:
    """The names of the types that a hint admits: int, float and None are of interest here."""
    if isinstance(hint, str):
        return {each.strip() for each in hint.split("|")}
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = typing.get_args(hint) if union else (hint,)
    plain = {int: "int", float: "float", type(None): "None"}
    return {plain.get(each, "another") if isinstance(each, type) else "another" for each in kinds}


@functools.cache
def _docs(kind: type) -> Mapping[str, str]:
    return field_docs(kind)


def _doc(spot: _Spot) -> str:
    text = _docs(spot.kind).get(str(spot.way[-1]), "")
    return _SENTENCE.split(text, maxsplit=1)[0]
