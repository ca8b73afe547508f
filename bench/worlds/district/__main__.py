"""`python -m worlds.district town/ --blocks 6x5`: draw the district as a scene."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import tyro

from worlds.district.files import write

FACTORS = {"k": 1_000, "m": 1_000_000}


def main(
    out: Annotated[Path, tyro.conf.Positional],
    views: int = 300,
    width: int = 640,
    height: int = 480,
    blocks: str = "6x5",
    points: str = "200k",
    seed: int = 0,
    street: float = 0.2,
    quality: int = 95,
    depth: bool = False,
) -> None:
    """Draw a generated district as a COLMAP scene into a new folder.

    Args:
        out: Folder to write, which must not exist.
        views: Photos.
        width: Of a photo, pixels.
        height: Of a photo, pixels.
        blocks: Blocks of houses along x and y, 53 and 43 m each with their streets.
        points: Of the point cloud: 200k, 1M or a number.
        seed: Of all that is chance.
        street: Share of the photos that are taken from the streets, the others from the air.
        quality: Of the JPEGs, 1 to 100.
        depth: Write the true depth of every pixel to truth/depth/ as well.
    """
    start = time.perf_counter()
    write(
        out, views=views, width=width, height=height, blocks=_pair(blocks), points=_count(points),
        seed=seed, street=street, quality=quality, depth=depth,
    )  # fmt: skip
    print(f"{out}: {views} photos of {blocks} blocks, {time.perf_counter() - start:.0f} s")


def _pair(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise ValueError(f"--blocks {text}: is no size; expected two numbers such as 6x5")
    return int(parts[0]), int(parts[1])


def _count(text: str) -> int:
    factor = FACTORS.get(text[-1:].lower(), 1)
    try:
        return round(float(text if factor == 1 else text[:-1]) * factor)
    except (ValueError, OverflowError):
        raise ValueError(f"--points {text}: is no number; expected one such as 200k") from None


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
