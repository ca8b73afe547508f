"""`python -m worlds.rooms out/ --shape ell`: hear and draw a room."""

from __future__ import annotations

from worlds.command import run
from worlds.rooms.files import write

if __name__ == "__main__":
    run(write)
