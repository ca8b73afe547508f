"""Anchors on a grid that make Gaussians for each camera (Scaffold-GS), and what stands on them."""

from typing import TYPE_CHECKING

from splat.system.lazy import on_demand

if TYPE_CHECKING:
    from splat.strategies.scaffold.density import Scaffold

__all__ = ["Scaffold"]
# What a file of anchors says of itself is read without torch.
__getattr__ = on_demand(__name__, {"Scaffold": "splat.strategies.scaffold.density"})
