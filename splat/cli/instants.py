"""A sequence of files, one for each instant of a scene that moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splat import formats
from splat.cli.asked.instants import of_sequence
from splat.cli.opened import Opened
from splat.formats.settings import Settings
from splat.options.verbs import check_free
from splat.system.text import size
from splat.types import Camera

FAINT = 1 / 255
"""Rows that are as faint as that at an instant are drawn in no pixel, and left out of its file."""


@dataclass(frozen=True)
class Instants:
    """What was written."""

    files: tuple[str, ...]
    bytes: int
    gaussians: tuple[int, ...]
    """Of each file."""

    def text(self) -> str:
        """The files in a line."""
        mean = sum(self.gaussians) / len(self.gaussians)
        return (
            f"{self.files[0]} to {Path(self.files[-1]).name}: {len(self.files)} files,"
            f" {size(self.bytes)}, {mean:,.0f} Gaussians each in the mean"
        )


def write_sequence(
    opened: Opened,
    out: Path,
    suffix: str,
    instants: int,
    settings: Settings,
    cameras: Sequence[Camera],
    overwrite: bool,
) -> Instants:
    """Write so many instants of what moves, evenly from the first to the last, less what cannot be
    seen at each."""
    files = of_sequence(out, suffix, instants)
    for path, _ in files:
        check_free(path, overwrite)
    counts, weight = [], 0
    for path, time in files:
        now = opened.frozen(time).gaussians
        now = now.take(now.opacities > FAINT)
        formats.write(now, path, opened.frame, opened.drawing, settings, cameras)
        counts.append(len(now))
        weight += formats.weight(path)
    return Instants(tuple(str(path) for path, _ in files), weight, tuple(counts))
