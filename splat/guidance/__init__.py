"""Depth and normals that were given with photographs, or that points tell, as terms of the loss."""

from splat.guidance.fit import fitted_line
from splat.guidance.points import PointsDepth
from splat.guidance.shape import normals_of_depth
from splat.guidance.terms import GivenDepth, GivenNormal, given_terms
from splat.guidance.text import guidance_text

__all__ = [
    "GivenDepth",
    "GivenNormal",
    "PointsDepth",
    "fitted_line",
    "given_terms",
    "guidance_text",
    "normals_of_depth",
]
