"""`python -m worlds.sweep room/ --plant.drift 0.1`: draw the room, with troubles."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro

from worlds.sweep.files import write
from worlds.sweep.plant import Plant


def main(
    out: Annotated[Path, tyro.conf.Positional],
    plant: Plant = Plant(),  # noqa: B008
    count: int = 40,
    width: int = 640,
    height: int = 480,
    kind: Literal["sweep", "walk"] = "sweep",
    clutter: bool = True,
    points: int = 20_000,
    test_every: int = 8,
    samples: int = 3,
) -> None:
    """Draw the generated room as a COLMAP scene into a new folder, the truth beside it.

    Args:
        out: Folder to write, which must not exist.
        plant: What is wrong with the capture.
        count: Photos.
        width: Of a photo, pixels.
        height: Of a photo, pixels.
        kind: Turning round on the spot, or a walk through the room.
        clutter: With carton, ball, bag and bottle.
        points: Of the point cloud.
        test_every: Nobody stands in the first photo and every so many after it.
        samples: Rays through a pixel, where the picture has contrast.
    """
    start = time.perf_counter()
    write(
        out, plant, count=count, width=width, height=height, kind=kind, clutter=clutter,
        points=points, test_every=test_every, samples=samples,
    )  # fmt: skip
    print(f"{out}: {count} photos of the room, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
