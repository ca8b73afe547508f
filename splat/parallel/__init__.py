"""One run by several processes, each with other photos (`torchrun ... -m splat train`)."""

from splat.parallel.ranks import Lost, Ranks, first, is_first, joined, speaks, steps_of
from splat.parallel.together import Apart, together

__all__ = [
    "Apart",
    "Lost",
    "Ranks",
    "first",
    "is_first",
    "joined",
    "speaks",
    "steps_of",
    "together",
]
