"""Gaussians that are there for a time and go along a line, for scenes that move."""

from splat.strategies.moving.moving import Moving

__all__ = ["Moving"]
