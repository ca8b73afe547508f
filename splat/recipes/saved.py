"""Strategies as run folders keep them, import paths and fields, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

from splat.core.strategy import Strategy
from splat.recipes import catalog
from splat.system.foreign import Broken, filled, shown
from splat.system.import_path import (
    IMPORT_PATH,
    is_vouched,
    loaded_module,
    module_of,
    place_of,
    vouch,
)

MOVED = {
    "splat.strategy:Fixed": "splat.core.strategy:Fixed",
    "splat.strategies.compose:Chain": "splat.core.chain:Chain",
    "splat.strategies.block:Block": "splat.blocks.block:Block",
}
"""Classes that run folders name by where they were, and where they are now."""
ROOMS = ("splat.strategies.", "splat.core.", "splat.blocks.")
"""Where classes of ours lie that a run folder may name."""
ROOMS_OF_FUNCTIONS = ("splat.strategies.", "splat.datasets.")
"""Where functions of ours lie that a field of a strategy may name."""


def description_of(strategy: Any) -> dict[str, Any]:
    """A strategy as JSON can hold it: the import path of its class, and its fields.

    Somebody here made it, and so vouches for what it is made of.
    """
    place = place_of(type(strategy))
    if not place.startswith("splat."):
        vouch(place)
    return {"class": place, "fields": _fields(strategy)}


def strategy_from_description(
    description: Mapping[str, Any], *, missing: Strategy | None = None
) -> Strategy:
    """The strategy that `description_of` described.

    A description may come from a stranger: what it names is loaded only where it is ours, an
    installed package's, or vouched for (`splat.system.import_path.vouch`); else ValueError.
    `missing` stands in for those within it whose class is not to be had; None: ValueError.
    """
    built: Strategy = _build(description, missing, None)
    return built


def _fields(part: Any) -> dict[str, Any]:
    values = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str) and IMPORT_PATH.fullmatch(value) and not value.startswith("splat."):
        vouch(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return description_of(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"a field of the method holds a {type(value).__name__}, which a run folder cannot keep;"
        " use numbers, texts, tuples and dataclasses of them"
    )


def _build(
    description: Mapping[str, Any], missing: Strategy | None, within: type[Any] | None
) -> Any:
    """What a description describes; `within` is the class of what it is a field of."""
    place, fields = description.get("class"), description.get("fields")
    if not isinstance(place, str) or not isinstance(fields, dict):
        raise Broken(
            "the method of the run is described without a class and its fields; the file was"
            " changed or cut off: begin anew"
        )
    try:
        kind = _class(MOVED.get(place, place), within)
    except ValueError:
        if missing is None:
            raise
        return missing
    if unknown := sorted(set(fields) - {field.name for field in dataclasses.fields(kind)}):
        raise Broken(
            f"{kind.__name__} has no field {shown(unknown[0])}; the run was made by another version"
            " of it: use that one, or begin anew"
        )
    values = {name: _value(value, missing, kind) for name, value in fields.items()}
    try:
        return filled(kind, values)
    except (Broken, TypeError) as error:
        raise Broken(
            f"the options of {kind.__name__} do not fit it ({error}); the run was made by another"
            " version of it, or its file was changed: begin anew"
        ) from error


def _value(value: Any, missing: Strategy | None, within: type[Any]) -> Any:
    if isinstance(value, dict):
        return _build(value, missing, within)
    if isinstance(value, str) and IMPORT_PATH.fullmatch(value):
        _check(value, ROOMS_OF_FUNCTIONS)
    if isinstance(value, list):
        return tuple(_value(item, missing, within) for item in value)
    return value


def _class(place: str, within: type[Any] | None) -> type[Any]:
    """The class at a place: a strategy, or a record beside the class it is a field of."""
    where, _, name = place.rpartition(":")
    if where == "__main__":
        raise Broken(
            f"{name} was defined in a script; go on from Python with"
            " splat.resume(folder, strategy=...)"
        )
    here = loaded_module(place)
    if here is None or not _is_strategy(getattr(here, name, None)):
        # A strategy that this process has imported by itself is the user's own.
        if within is None or where != within.__module__:
            _check(place, ROOMS)
    kind: Any = getattr(module_of(where), name, None)
    if _is_strategy(kind) or (within is not None and dataclasses.is_dataclass(kind)):
        checked: type[Any] = kind
        return checked
    raise Broken(
        f"{place} is no strategy with options; expected a class that derives from"
        " splat.core.Strategy: the run was made by another version of it, or by no splat"
    )


def _is_strategy(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Strategy) and dataclasses.is_dataclass(kind)


def _check(place: str, rooms: tuple[str, ...]) -> None:
    """Raise ValueError where a description names what is neither ours, nor an installed package's,
    nor vouched for: importing it would run whatever it holds."""
    where = place.rpartition(":")[0]
    ours = where.startswith(rooms) and not where.endswith(".py")
    if not ours and where not in _modules_of_packages() and not is_vouched(place):
        raise Broken(
            f"the run was made with {place}, which is not part of splat, and to open the run is to"
            f" execute it; if you trust it, say so with --plugin {place}"
        )


@cache
def _modules_of_packages() -> frozenset[str]:
    """Modules of the strategies that other installed packages offer."""
    return frozenset(kind.__module__ for _, kind in catalog.installed_kinds())
