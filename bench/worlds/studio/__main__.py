"""`python -m worlds.studio --out folder --object mirror`: photograph an object."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

import tyro

from worlds.studio.files import write

Light = Literal["studio", "sky", "sunset", "room"]


def main(
    out: Path,
    object: Literal["mirror", "glossy", "diffuse"] = "mirror",
    light: Light = "studio",
    unseen: tuple[Light, ...] = ("sunset", "room"),
    views: int = 60,
    tests: int = 12,
    size: int = 256,
    samples: int = 25,
) -> None:
    """Photograph an object of known shape and material into a new folder, by Mitsuba 3.

    Args:
        out: Folder to write, which must not exist.
        object: A rabbit of polished metal, a glazed teapot, or a matte dinosaur.
        light: Surroundings in the training and test views.
        unseen: Surroundings that the test views are drawn under as well, in `relit/`.
        views: Training views.
        tests: Test views, evenly between the others.
        size: Width and height of pictures, pixels.
        samples: Rays through a pixel of a training view, a square number; test views get more
            than twice as many.
    """
    start = time.perf_counter()
    write(
        out, object, light=light, unseen=unseen, views=views, tests=tests, size=size,
        samples=samples,
    )  # fmt: skip
    print(f"{out}: {object}, {views} + {tests} views, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(str(error))
