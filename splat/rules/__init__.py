"""What methods are built of: births, deaths, relocation, choices among rows, windows of steps.

The most common by one door: `from splat.rules import faint, pruning, room, select, split`.
"""

from splat.rules.births import cloned, cloned_or_split, split
from splat.rules.curve import room, target
from splat.rules.deaths import faint, largest, opacity_decay, opacity_reset, pruning
from splat.rules.select import select
from splat.rules.window import mean_screen_gradient

__all__ = [
    "cloned",
    "cloned_or_split",
    "faint",
    "largest",
    "mean_screen_gradient",
    "opacity_decay",
    "opacity_reset",
    "pruning",
    "room",
    "select",
    "split",
    "target",
]
