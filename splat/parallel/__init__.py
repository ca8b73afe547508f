"""One run by several processes, each with other photos (`torchrun ... -m splat train`)."""

from splat.parallel.ranks import ALONE, Lost, Ranks, current_ranks, speaks
from splat.parallel.sharded import Sharded
from splat.parallel.together import Apart, Together, combined_step

__all__ = [
    "ALONE", "Apart", "Lost", "Ranks", "Sharded", "Together", "combined_step", "current_ranks",
    "speaks",
]  # fmt: skip
