"""How the context of a forest comes to expect what its numbers are."""

from __future__ import annotations

from collections.abc import Callable

import torch

from splat.core.column import EPSILON, Rate, Scaling
from splat.core.model import TrainedModule
from splat.strategies.forest.context import Context, Values
from splat.strategies.forest.layout import Layout

EVERY = 16
"""Steps of which one counts bits, and rows of which one is counted."""
FIRST, MORE = 200, 4
"""How often the context moves at the first of these steps, and at each later one: of so few steps
one move each is too little."""
RATES = (1e-2, 5e-4)
"""Learning rates in the first half of a run and at its end."""


class Fitted(TrainedModule):
    """A context that is fitted to the numbers of its forest whenever their bits are counted.

    `numbers` gives them at a step at which they are, and whether that is the first; None: at no
    such step. Gradients that the loss has for the context are left aside: what it expects does not
    depend on how much bits are to cost.
    """

    def __init__(
        self,
        context: Context,
        steps: int,
        numbers: Callable[[int], tuple[Layout, Values, bool] | None],
    ) -> None:
        """For a run of so many steps."""
        optimizer = torch.optim.Adam(context.parameters(), lr=RATES[0], eps=EPSILON, foreach=True)
        super().__init__(context, optimizer, [Rate(*RATES, steps, holds=0.5)])
        self.numbers = numbers

    @property
    def context(self) -> Context:
        """What is fitted."""
        assert isinstance(self.module, Context)
        return self.module

    def optimize(self, step: int, rate_scale: float, scaling: Scaling = Scaling()) -> None:  # noqa: B008
        del scaling  # it is of photos, which say nothing here
        counted = self.numbers(step)
        if counted is None:
            return
        layout, values, first = counted
        if first:
            self.context.begin(layout, values)
        turn = step // EVERY * MORE
        for number in range(turn, turn + (FIRST if first else MORE)):
            self.optimizer.zero_grad(set_to_none=True)
            with torch.enable_grad():
                some = slice(number % EVERY, None, EVERY)
                bits = self.context.bits(layout, values, some) / values.count
            bits.backward()
            super().optimize(step, rate_scale)
