"""Taking things out of a scene by a few 2-D masks, and filling what is then seen behind them.

Inspired by Wei, Funkhouser & Rusinkiewicz 2023 (clutter removal with view-consistent inpainting),
who let views vote too; the rules and their numbers are our own.
"""

from splat.cleanup.choices import Choice, Fill
from splat.cleanup.erase.fill import Filled, filled_holes
from splat.cleanup.erase.rows import write_left
from splat.cleanup.erase.vote import Votes, rows_to_erase, vote

__all__ = [
    "Choice",
    "Fill",
    "Filled",
    "Votes",
    "filled_holes",
    "rows_to_erase",
    "vote",
    "write_left",
]
