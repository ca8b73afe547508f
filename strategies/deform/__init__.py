"""A field over space and time that moves the Gaussians of any method, for scenes that move."""

from splat.strategies.deform.deform import Deform

__all__ = ["Deform"]
