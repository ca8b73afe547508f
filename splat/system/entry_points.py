"""Entry points: what other installed packages add to this one, by name."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import cache
from importlib import metadata

_log = logging.getLogger(__name__)


@cache
def installed(group: str) -> Mapping[str, str]:
    """Import paths (`module:name` or `module`) of other packages' entry points in `group`, by
    name."""
    places: dict[str, str] = {}
    for entry in metadata.entry_points(group=group):
        if entry.name in places:
            _log.warning("warning: %r of %s is %s and %s; the first is taken",
                         entry.name, group, places[entry.name], entry.value)  # fmt: skip
        else:
            places[entry.name] = entry.value.replace(" ", "")
    return places


def installed_besides(group: str, ours: Collection[str]) -> Mapping[str, str]:
    """As `installed`, without names that are ours; a warning says so."""
    places = dict(installed(group))
    for name in sorted({*places} & {*ours}):
        _log.warning("warning: %s calls itself %r, as one of ours is called; ours is taken",
                     places.pop(name), name)  # fmt: skip
    return places
