"""`python -m worlds.sweep room/ --plant.drift 0.1`: draw the room, with troubles."""

from __future__ import annotations

from worlds.command import run
from worlds.sweep.files import write

if __name__ == "__main__":
    run(write)
