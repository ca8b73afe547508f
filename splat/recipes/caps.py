"""How many rows a method may have where nobody says."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from splat.planning.ladder import rung_for
from splat.system.devices import Device

T = TypeVar("T")


def with_suitable_cap(strategy: T, device: Device, budget: int = 0) -> T:
    """A method, or a sketch of one, with the largest cap that suits the device, or a budget of
    Gaussians.

    Where rows have a file of their own the budget is none of Gaussians. What is published without
    a limit has none on CUDA; a machine with little time or memory needs one.
    """
    method: Any = strategy
    if "cap" not in {field.name for field in dataclasses.fields(method)}:
        return strategy
    if method.row_bytes if budget else device.type == "cuda" and not method.cap:
        return strategy
    fitted: T = dataclasses.replace(method, cap=budget or rung_for(device).cap // method.draws)
    return fitted
