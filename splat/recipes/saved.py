"""Strategies as run folders keep them, import paths and fields, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from splat.core.strategy import Strategy
from splat.recipes.catalog import plugin
from splat.system.import_path import module_of, place_of

MOVED = {
    "splat.strategy:Fixed": "splat.core.strategy:Fixed",
    "splat.strategies.compose:Chain": "splat.core.chain:Chain",
    "splat.strategies.block:Block": "splat.blocks.block:Block",
}
"""Classes that run folders name by where they were, and where they are now."""


def description_of(strategy: Strategy) -> dict[str, Any]:
    """A strategy as JSON can hold it: the import path of its class, and its fields."""
    return {"class": place_of(type(strategy)), "fields": _fields(strategy)}


def strategy_from_description(
    description: Mapping[str, Any], *, missing: Strategy | None = None
) -> Strategy:
    """The strategy that `description_of` described.

    `missing` stands in for those within it whose class is not to be had; None: ValueError.
    """
    place = MOVED.get(description["class"], description["class"])
    try:
        kind = _loaded(place)
    except ValueError:
        if missing is None:
            raise
        return missing
    strategy: Strategy = _build(kind, description["fields"], missing)
    return strategy


def class_names(description: Mapping[str, Any]) -> str:
    """Names of the classes in a description, joined by +, without importing them."""
    fields = description["fields"]
    inner = [part for part in (fields.get("base"), *fields.get("parts", ())) if part]
    own = description["class"].rpartition(":")[2]
    return " + ".join([*map(class_names, inner), *([] if fields.get("parts") else [own])])


def _loaded(place: str) -> type[Strategy]:
    if place.startswith("__main__:"):
        raise ValueError(
            f"the method {place.partition(':')[2]} was defined in a script; go on from Python with"
            " splat.resume(folder, strategy=...)"
        )
    return plugin(place)


def _fields(part: Any) -> dict[str, Any]:
    values = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"class": place_of(type(value)), "fields": _fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"a field of the method holds a {type(value).__name__}, which a run folder cannot keep;"
        " use numbers, texts, tuples and dataclasses of them"
    )


def _build(kind: type[Any], fields: Mapping[str, Any], missing: Strategy | None) -> Any:
    names = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(set(fields) - names):
        raise ValueError(
            f"{kind.__name__} has no field {unknown[0]!r}; the run was made by another version of"
            f" it: use that one, or begin anew"
        )
    return kind(**{name: _value(value, missing) for name, value in fields.items()})


def _value(value: Any, missing: Strategy | None) -> Any:
    if isinstance(value, dict):
        try:
            kind = _class(value["class"])
        except ValueError:
            if missing is None:
                raise
            return missing
        return _build(kind, value["fields"], missing)
    return tuple(_value(item, missing) for item in value) if isinstance(value, list) else value


def _class(place: str) -> type[Any]:
    where, _, name = MOVED.get(place, place).rpartition(":")
    if where == "__main__":
        raise ValueError(f"the class {name} was defined in a script, which alone can use it")
    kind: type[Any] = getattr(module_of(where), name)
    return kind
