"""As many Gaussians as a grid has places, each near a place of its own: scenes as volumes."""

from typing import TYPE_CHECKING

from splat.system.lazy import on_demand

if TYPE_CHECKING:
    from splat.strategies.pool.pool import Pool

__all__ = ["Pool"]
# Help of the verb that lies in here waits for no torch.
__getattr__ = on_demand(__name__, {"Pool": "splat.strategies.pool.pool"})
