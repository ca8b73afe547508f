"""One run by several processes, each with other photos (`torchrun ... -m splat train`)."""

from splat.parallel.ranks import ALONE, Lost, Ranks, current_ranks, speaks
from splat.parallel.together import Apart, combined_step

__all__ = ["ALONE", "Apart", "Lost", "Ranks", "combined_step", "current_ranks", "speaks"]
