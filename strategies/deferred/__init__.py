"""Gaussians with materials, shaded picture by picture under a light that is learned with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splat.strategies.deferred.deferred import Deferred

__all__ = ["Deferred"]


def __getattr__(name: str) -> Any:
    # Help of the verb that lies in here waits for no torch.
    if name != "Deferred":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from splat.strategies.deferred.deferred import Deferred

    return Deferred
