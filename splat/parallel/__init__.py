"""One run by several processes, each with other photos (`torchrun ... -m splat train`)."""

from splat.parallel.ranks import ALONE, Lost, Ranks, current_ranks, speaks
from splat.parallel.together import Apart, together

__all__ = ["ALONE", "Apart", "Lost", "Ranks", "current_ranks", "speaks", "together"]
