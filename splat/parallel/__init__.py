"""One run by several processes, each with other photos (`torchrun ... -m splat train`)."""

from splat.parallel.ranks import ALONE, Lost, Ranks, joined, speaks
from splat.parallel.together import Apart, together

__all__ = ["ALONE", "Apart", "Lost", "Ranks", "joined", "speaks", "together"]
