"""Anchors on a grid that make Gaussians for each camera (Scaffold-GS), and what stands on them."""

from splat.strategies.scaffold.density import Scaffold

__all__ = ["Scaffold"]
