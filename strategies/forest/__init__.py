"""Gaussians as leaves of trees, which share their shape and their look (after GaussianForest)."""

from splat.strategies.forest.forest import Forest

__all__ = ["Forest"]
