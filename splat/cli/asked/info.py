"""What `splat info` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from splat.options import Reading
from splat.options.verbs import DeviceName, Json, Quiet


@dataclass(frozen=True)
class Info:
    """Say what is in a scene, a run or a file of Gaussians, and what training would take."""

    what: tyro.conf.Positional[Path]
    """Folder of a scene, folder of a run, or a file of Gaussians."""
    json: Json = False
    quiet: Quiet = False
    device: DeviceName = "auto"
    """Where one would train."""
    reading: Reading = field(default_factory=Reading)
