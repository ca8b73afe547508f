"""Gaussians with materials, shaded picture by picture under a light that is learned with them."""

from splat.strategies.deferred.deferred import Deferred

__all__ = ["Deferred"]
