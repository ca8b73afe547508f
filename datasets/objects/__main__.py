"""`python -m splat.datasets.objects FOLDER`: a corpus of things with words."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from tqdm import tqdm

from splat.datasets.objects import files
from splat.datasets.objects.words import PROPERTIES, allowed
from splat.options.verbs import check_free


@dataclass(frozen=True)
class Asked:
    """Make things with words, as Gaussians, for `splat train-generator` to learn from."""

    folder: tyro.conf.Positional[Path]
    count: int = 4000
    """Things to learn from; a tenth as many are held out, of words that never come together."""
    seed: int = 0
    """Of all draws: the same seed makes the same bytes, and a larger count only more things."""
    words: tuple[str, ...] = ()
    """Only things that these words, such as `red blue cube torus`, are enough for: a smaller
    vocabulary is learned sooner. Of a property without a word here things are as they usually are,
    or, where there is no usual, any. None: all words."""
    overwrite: bool = False
    """Replace what is there."""


def main(asked: Asked) -> None:
    """Write what is asked for."""
    if asked.count < 1 or asked.seed < 0:
        raise ValueError(f"count is {asked.count} and seed {asked.seed}; expected 1 or more, and 0")
    properties = allowed(asked.words) if asked.words else PROPERTIES
    check_free(asked.folder, asked.overwrite)
    begun = time.monotonic()
    files.write(
        asked.folder, asked.count, asked.seed,
        watch=lambda numbers: tqdm(numbers, unit="thing", disable=None), properties=properties,
    )  # fmt: skip
    found = files.read(asked.folder)
    print(
        f"{asked.folder}: {len(found.numbers('train')):,} things to learn from,"
        f" {len(found.numbers('test')):,} held out, {int(found.begin[-1]):,} Gaussians,"
        f" {time.monotonic() - begun:.0f} s"
    )


if __name__ == "__main__":
    try:
        main(tyro.cli(Asked))
    except (ValueError, OSError) as error:
        sys.exit(f"splat.datasets.objects: {error}")
