"""`python -m worlds.studio out/ --object mirror`: photograph an object."""

from __future__ import annotations

from worlds.command import run
from worlds.studio.files import write

if __name__ == "__main__":
    run(write)
