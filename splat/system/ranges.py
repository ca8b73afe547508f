"""Ranges of numbers as annotations of fields: help shows them, and a record can be held to them.

    count: Annotated[int, at_least(1)] = 5
    share: Annotated[float, within(0, 1, low_open=True)] = 0.2
    how: Literal["mean", "most"] = "mean"

`check_fields(record)` raises ValueError in one sentence for the first value that does not fit.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
import typing
from functools import cache
from typing import Any

import tyro


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers; tyro asks it what help says of a default."""

    low: float = -float("inf")
    high: float = float("inf")
    low_open: bool = False
    """Whether `low` itself is out of range."""
    high_open: bool = False
    """Whether `high` itself is out of range."""
    default: str = ""
    """What help says in place of the default's value."""
    note: str = ""
    """What to do, or what a bound means: a clause that may follow."""

    def holds(self, value: float) -> bool:
        """Whether a number is in range, which infinity and NaN never are."""
        if not math.isfinite(value):
            return False
        above = self.low < value if self.low_open else self.low <= value
        return bool(above and (value < self.high if self.high_open else value <= self.high))

    @property
    def text(self) -> str:
        """For people, to stand behind `expected`."""
        low, high = f"{self.low:,g}", f"{self.high:,g}"
        if self.high == float("inf"):
            return f"above {low}" if self.low_open else f"{low} or more"
        if self.low_open:
            return f"above {low} and {'below' if self.high_open else 'up to'} {high}"
        return f"from {low} to below {high}" if self.high_open else f"from {low} to {high}"

    def __call__(self, default: str) -> str:
        """What stands in help behind the text of an option."""
        return f"(default: {self.default or default}; {self.text})"


def at_least(low: float, *, default: str = "", note: str = "") -> Any:
    """Annotation: `low` or more."""
    return tyro.conf.arg(help_behavior_hint=Range(low, default=default, note=note))


def above(low: float, *, default: str = "", note: str = "") -> Any:
    """Annotation: a finite number above `low`."""
    return tyro.conf.arg(help_behavior_hint=Range(low, low_open=True, default=default, note=note))


def within(
    low: float,
    high: float,
    *,
    low_open: bool = False,
    high_open: bool = False,
    default: str = "",
    note: str = "",
) -> Any:
    """Annotation: from `low` to `high`, both included unless said otherwise."""
    return tyro.conf.arg(help_behavior_hint=Range(low, high, low_open, high_open, default, note))


def check_fields(record: Any, *, as_options: bool = False) -> None:
    """Raise ValueError for the first field of a dataclass whose value its annotation rules out.

    A number must lie in its range (of a tuple each one; None and texts such as auto are let pass),
    a word must be one of its `Literal`. The sentence calls fields by their names, `as_options` as
    the command line does.
    """
    for name, rule in _rules(type(record)).items():  # type: ignore[arg-type]  # classes are hashable
        value, option = getattr(record, name), name.replace("_", "-") if as_options else name
        if isinstance(rule, Range):
            for each in value if isinstance(value, tuple | list) else (value,):
                _check_number(option, each, rule)
        elif value not in rule:
            *others, last = rule
            raise ValueError(f"{option} is {value!r}; expected {', '.join(others)} or {last}")


def _check_number(option: str, value: Any, range_: Range) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or range_.holds(value):
        return
    note = f"; {range_.note}" if range_.note else ""
    shown = f"{value:,}" if isinstance(value, int) else f"{value:g}"
    raise ValueError(f"{option} is {shown}; expected {range_.text}{note}")


def check_box(box: tuple[float, float, float, float, float, float] | None) -> None:
    """Raise ValueError where a box that is given holds nothing."""
    if box is not None and not all(a < b for a, b in zip(box[:3], box[3:], strict=True)):
        raise ValueError(f"box is {box}; expected x y z of its low corner, then its high")


@cache
def _rules(kind: type[Any]) -> dict[str, Range | tuple[str, ...]]:
    """Ranges, or words that are allowed, of the fields of a dataclass, by name."""
    found: dict[str, Range | tuple[str, ...]] = {}
    for base in reversed(kind.__mro__):
        names = vars(sys.modules.get(base.__module__, typing))
        for name, hint in inspect.get_annotations(base).items():
            rule = _rule(hint, names)
            if rule is not None:
                found[name] = rule
    return {each.name: found[each.name] for each in dataclasses.fields(kind) if each.name in found}


def _rule(hint: Any, names: dict[str, Any]) -> Range | tuple[str, ...] | None:
    """What an annotation allows, where it says so; others need not be evaluated."""
    if isinstance(hint, str):
        if "Annotated[" not in hint and "Literal[" not in hint:
            return None
        hint = eval(hint, dict(names))
    for each in getattr(hint, "__metadata__", ()):
        range_ = getattr(each, "help_behavior_hint", None)
        if isinstance(range_, Range):
            return range_
    plain = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    words = typing.get_args(plain) if typing.get_origin(plain) is typing.Literal else ()
    return words if all(isinstance(word, str) for word in words) and words else None
