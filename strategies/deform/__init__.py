"""A field over space and time that moves the Gaussians of any method, for scenes that move."""

from typing import TYPE_CHECKING

from splat.system.lazy import on_demand

if TYPE_CHECKING:
    from splat.strategies.deform.deform import Deform

__all__ = ["Deform"]
# What a `.clip` file says of itself is read without torch.
__getattr__ = on_demand(__name__, {"Deform": "splat.strategies.deform.deform"})
