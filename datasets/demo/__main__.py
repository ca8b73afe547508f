"""`python -m splat.datasets.demo FOLDER`: the built-in scene on disk, standing still or moving."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from splat.datasets import demo
from splat.datasets.demo import clip


@dataclass(frozen=True)
class Asked:
    """Draw the built-in scene into a new folder."""

    folder: tyro.conf.Positional[Path]
    moving: bool = False
    """Draw the still life in motion, a clip."""
    layout: clip.Layout = "rig"
    """Of the moving scene: cameras that stand still, or one that goes around."""
    width: int | None = None
    """Width of the pictures, 4 to 3 of which is their height; without it 400, or 200 of a clip."""
    instants: int = 24
    """Instants of the moving scene."""


def main(asked: Asked) -> None:
    """Draw what is asked for."""
    width = asked.width or (200 if asked.moving else 400)
    size = {"width": width, "height": width * 3 // 4}
    if asked.moving:
        clip.write(asked.folder, layout=asked.layout, instants=asked.instants, **size)
    else:
        demo.write(asked.folder, **size)


if __name__ == "__main__":
    main(tyro.cli(Asked))
