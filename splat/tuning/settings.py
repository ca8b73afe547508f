"""Settings that are worth trying on a scene: those that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from splat.core.strategy import Strategy
from splat.options import Options
from splat.recipes import recipe
from splat.recipes.offered import Offered
from splat.training.decide import Decided
from splat.types import SceneData

METHODS = ("mcmc", "mrnf", "adc")
"""Methods that are tried in place of the default, those first that were near it where methods were
compared (docs/results/league.md). Not `fixed`: with all of its Gaussians from the start it is ahead
of all others in short trials, and behind in runs."""
FEW_PHOTOS = 60
"""Photos below which harmonics of fewer bands are tried: what few photos see can be explained in
many ways."""


@dataclass(frozen=True)
class Setting:
    """A run that differs from the usual one in one thing."""

    words: str
    """As the command line has it."""
    kind: str
    """What it changes: of one kind only one can hold."""
    strategy: Strategy
    options: Options

    def with_(self, other: Setting) -> Setting:
        """This one and another of another kind; `other` changes options only."""
        changed = {name: value for name, value in vars(other.options).items() if name == other.kind}
        return replace(
            self,
            words=f"{other.words} {self.words}",
            kind=f"{self.kind} {other.kind}",
            options=replace(self.options, **changed),
        )


def settings(scene: SceneData, decided: Decided, *, named: bool) -> Iterator[Setting]:
    """What may be tried in place of what was decided, the most promising first.

    `named`: somebody asked for the method, which stays then.
    """
    strategy, asked, options = decided.strategy, decided.asked, decided.options
    few = len(scene.train) < FEW_PHOTOS

    def option(name: str, *values: float) -> Iterator[Setting]:
        for value in values:
            words = f"--{name.replace('_', '-')} {value:g}"
            changed: dict[str, Any] = {name: value}
            yield Setting(words, name, strategy, replace(options, **changed))

    def method(text: str) -> Iterator[Setting]:
        other = recipe.strategy_from_text(text, Offered(decided.device, 0))
        if strategy.cap:
            other = other.limited(strategy.cap)
        if scene.clip is not None:
            other = recipe.moving(other)
        if other != strategy:
            yield Setting(text, "method", other, options)

    has_points = scene.points is not None and len(scene.points.positions) > 0
    if has_points and asked.points_weight is None and options.points_weight:
        yield from option("points_weight", 0.0)
    if few and asked.sh_degree == Options.sh_degree:
        yield from option("sh_degree", 1)
    if not named:
        for text in METHODS:
            yield from method(text)
