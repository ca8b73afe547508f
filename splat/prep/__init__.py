"""From raw photos or a video to a scene with poses: what `splat prep` is made of.

`prepare` does it all, `prepare_any` for the videos of a rig too. What it is made of is loaded when
it is first asked for, since the process that finds the poses needs little of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splat.prep.options import PrepOptions
    from splat.prep.preparation import prepare, prepare_any
    from splat.prep.report import Report
    from splat.prep.rig import RigReport

__all__ = ["PrepOptions", "Report", "RigReport", "prepare", "prepare_any"]

_PLACES = {
    "PrepOptions": "options", "Report": "report", "RigReport": "rig", "prepare": "preparation",
    "prepare_any": "preparation",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'splat.prep' has no attribute {name!r}")
    value = getattr(import_module(f"splat.prep.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
