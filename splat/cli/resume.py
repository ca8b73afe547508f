"""`splat resume`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from splat import api
from splat.cli.parse import parsed
from splat.cli.train import report
from splat.folder import existing, read_config


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its last checkpoint.

    On the CPU it ends with the same bytes as if it had never stopped.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    steps: int | None = None
    """A new end; a finished run needs one. Schedules are those of a run of that length."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where to go on. Default: as the run was begun."""
    threads: int | None = None
    """Threads on the CPU; results do not depend on it. Default: as the run was begun."""
    json: bool = False
    """Print the figures as JSON."""
    quiet: bool = False
    """Say nothing but warnings and the result."""


def main(arguments: Sequence[str]) -> int:
    """Resume; the exit code."""
    asked = parsed(Resume, "resume", arguments)
    watching = read_config(existing(asked.run).config).watching
    return report(
        lambda: api.resume(
            asked.run,
            steps=asked.steps,
            device=asked.device,
            threads=asked.threads,
            watching=replace(watching, quiet=asked.quiet),
        ),
        asked.run,
        asked.json,
    )
