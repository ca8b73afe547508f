"""Gaussians as leaves of trees, which share their shape and their look (after GaussianForest)."""

from typing import TYPE_CHECKING

from splat.system.lazy import on_demand

if TYPE_CHECKING:
    from splat.strategies.forest.forest import Forest

__all__ = ["Forest"]
# What a file of a forest says of itself is read without torch.
__getattr__ = on_demand(__name__, {"Forest": "splat.strategies.forest.forest"})
