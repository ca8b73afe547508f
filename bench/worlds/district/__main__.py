"""`python -m worlds.district town/ --blocks 6x5`: draw the district as a scene."""

from __future__ import annotations

from worlds.command import run
from worlds.district.files import write

if __name__ == "__main__":
    run(write)
