"""Garments: a layer of Gaussians on a body that stays as it is, and that layer on other bodies."""

from typing import TYPE_CHECKING

from splat.system.lazy import on_demand

if TYPE_CHECKING:
    from splat.strategies.garment.garment import Garment

__all__ = ["Garment"]
# Help of the verb that lies in here waits for no torch.
__getattr__ = on_demand(__name__, {"Garment": "splat.strategies.garment.garment"})
