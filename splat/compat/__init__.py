"""Strategies of gsplat in our loop (`from_gsplat`), and ours in a loop of gsplat's
(`for_gsplat`)."""

from splat.compat.ours import ForGsplat, for_gsplat
from splat.compat.theirs import FromGsplat, from_gsplat

__all__ = ["ForGsplat", "FromGsplat", "for_gsplat", "from_gsplat"]
