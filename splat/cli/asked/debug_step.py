"""What `splat debug-step` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from splat.options.verbs import Json


@dataclass(frozen=True)
class DebugStep:
    """Repeat the step that ended a run on the CPU, and say where values are not finite first."""

    dump: tyro.conf.Positional[Path]
    """A file that a run left in its folder dumps."""
    json: Json = False
