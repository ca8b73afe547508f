"""What the description of a strategy in a run folder says, without importing what it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splat.recipes import catalog
from splat.system.foreign import Record


def recipe_names(description: Mapping[str, Any]) -> str:
    """Names of the method and parts in a description, as in a recipe, without importing them.

    A preset has the name of its part: whether it is one, only classes can tell.
    """
    described = Record.of(description)
    fields = described.record("fields")
    parts = fields.entries("parts") if fields.get("parts") else []
    inner = [part for part in (fields.get("base"), *parts) if part]
    own = _name(described.text("class"))
    return " + ".join([*map(recipe_names, inner), *([] if parts else [own])])


def _name(place: str) -> str:
    """The name of the class at a place."""
    module, _, kind = place.rpartition(":")
    for name, known in catalog.places().items():
        room, _, known_kind = known.rpartition(":")
        # Classes lie where they are imported from, or within it.
        if kind == known_kind and f"{module}.".startswith(f"{room}."):
            return name
    return kind.lower()
