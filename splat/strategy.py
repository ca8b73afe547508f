"""`Strategy`: how rows come, go and move; `Fixed` leaves them as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from splat.edit import Edit
from splat.types import Needs, Step

if TYPE_CHECKING:
    from splat.model import Model
    from splat.objective import Objective


@dataclass(frozen=True)
class Start:
    """How rows begin where they are made from bare points."""

    opacity: float = 0.1
    scale: float = 1.0
    """In units of the mean distance to the three nearest points."""


class Strategy(ABC):
    """Decides when rows grow, move and are pruned.

    An object is constant: what it remembers of rows lies in statistics of the cloud, its draws
    come from `step.generator(purpose)`. So it can be used for many runs, and resume needs nothing
    from it. To change a strategy, wrap it; do not subclass a concrete one.
    """

    needs: Needs = Needs()
    start: Start = Start()
    cap: int = 0
    """Most rows there may be, 0 for no limit; runs do not start with more."""

    def scheduled(self, steps: int) -> Strategy:
        """This strategy with its step numbers, published for 30,000 steps, fitted to `steps`.

        `splat.schedule` has the rules; a strategy without step numbers returns itself.
        """
        del steps
        return self

    def objectives(self) -> Mapping[str, Objective]:
        """Terms of the loss that belong to the method (MCMC's regularisers)."""
        return {}

    def begin(self, model: Model) -> None:
        """Declare statistics with `model.cloud.track`; called once a run, before a resume loads."""
        del model

    def observe(self, step: Step) -> None:
        """Accumulate statistics: after backward, before the optimizer."""
        del step

    @abstractmethod
    def refine(self, step: Step) -> Edit | None:
        """Propose an edit: after the optimizer, every step. It changes nothing itself."""


@dataclass(frozen=True)
class Fixed(Strategy):
    """No density control: the points one starts from are the Gaussians one ends with."""

    def refine(self, step: Step) -> Edit | None:
        del step
        return None
