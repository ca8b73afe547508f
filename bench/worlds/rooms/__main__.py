"""`python -m worlds.rooms out/ --shape ell`: hear and draw a room."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro

from worlds.rooms.files import write
from worlds.rooms.takes import Kind


def main(
    out: Annotated[Path, tyro.conf.Positional],
    shape: Literal["shoebox", "ell", "hall"] = "shoebox",
    kind: Kind = "responses",
    listeners: int = 300,
    sources: int = 1,
    held_sources: int = 0,
    seed: int = 0,
    views: int = 60,
    width: int = 320,
    height: int = 240,
    points: int = 9_000,
    rate: int = 16_000,
    seconds: float = 0.8,
    rays: int = 10_000,
    workers: int = 2,
) -> None:
    """Simulate how a room sounds and draw its pictures into a new folder.

    Args:
        out: Folder to write, which must not exist.
        shape: Which room.
        kind: Impulse responses, or recordings of what the sources play, a second for each listener.
        listeners: Heads, each with its own place and direction; one in five is held out.
        sources: Each is heard by every listener.
        held_sources: Of the sources, how many are held out: held-out listeners alone hear them.
        seed: Of places, rays, noise and views.
        views: Pictures of the room; 0 for none.
        width: Of a picture, pixels.
        height: Of a picture, pixels.
        points: Of the point cloud.
        rate: Samples a second.
        seconds: Of a response.
        rays: That a source sends out.
        workers: Processes that simulate side by side.
    """
    start = time.perf_counter()
    write(
        out, shape, kind=kind, listeners=listeners, sources=sources, held_sources=held_sources,
        seed=seed, views=views, width=width, height=height, points=points, rate=rate,
        seconds=seconds, rays=rays, workers=workers,
    )  # fmt: skip
    took = time.perf_counter() - start
    many = f"{kind} of {sources} source{'s' if sources > 1 else ''} at {listeners} places"
    print(f"{out}: {many}, {views} pictures of the {shape}, {took:.0f} s")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(str(error))
