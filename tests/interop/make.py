"""Writes the files that `readers.mjs` gives to other programs.

    PYTHONPATH=tests python tests/interop/make.py FOLDER

FOLDER/0 to FOLDER/3, named by the bands of harmonics, each hold `scene.ply` and the same 5,000
Gaussians in all other formats; of .spz all versions, as `scene2.spz` and so on.
"""

from __future__ import annotations

import sys
from pathlib import Path

from formats import some

from splat import formats
from splat.formats.settings import Settings

FILES = {
    "scene.ply": Settings(),
    "scene.compressed.ply": Settings(),
    "scene2.spz": Settings(spz_version=2),
    "scene3.spz": Settings(spz_version=3),
    "scene4.spz": Settings(spz_version=4),
    # Random harmonics share nothing: an entry for each.
    "scene.sog": Settings(sog_palette=8192),
    "scene.splat": Settings(),
}


def main(folder: Path) -> None:
    """Write all files of all degrees."""
    for degree in range(4):
        (folder / str(degree)).mkdir(parents=True, exist_ok=True)
        for name, settings in FILES.items():
            formats.write(some(5000, degree), folder / str(degree) / name, settings=settings)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
