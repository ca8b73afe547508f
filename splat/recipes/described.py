"""What the description of a strategy in a run folder says, without importing what it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splat.system.foreign import Record


def class_names(description: Mapping[str, Any]) -> str:
    """Names of the classes in a description, joined by +, without importing them."""
    described = Record.of(description)
    fields = described.record("fields")
    parts = fields.entries("parts") if fields.get("parts") else []
    inner = [part for part in (fields.get("base"), *parts) if part]
    own = described.text("class").rpartition(":")[2]
    return " + ".join([*map(class_names, inner), *([] if parts else [own])])
