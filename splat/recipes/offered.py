"""Methods with defaults that suit a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from splat.core.strategy import Strategy, Wrapper
from splat.recipes.caps import with_suitable_cap
from splat.recipes.catalog import PARTS, kind_of, methods


class Offered(Mapping[str, Strategy]):
    """Methods by name, each with defaults that suit a device or a budget.

    They are loaded when they are asked for; going through them loads them all.
    """

    def __init__(self, device: torch.device | None = None, budget: int = 0) -> None:
        """`device` None: with the numbers of their classes. `budget`: Gaussians, 0: none."""
        self._device, self._budget = device, budget

    def __getitem__(self, name: str) -> Strategy:
        kind = None if name in PARTS else kind_of(name)
        if kind is None or issubclass(kind, Wrapper):
            raise KeyError(name)
        return (
            kind()
            if self._device is None
            else with_suitable_cap(kind(), self._device, self._budget)
        )

    def __iter__(self) -> Iterator[str]:
        return iter(methods())

    def __len__(self) -> int:
        return len(methods())
