"""`suggest`: what to change of a run, by trying it on an eighth of the pixels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

from splat import api
from splat.core.schedule import PUBLISHED_STEPS
from splat.core.strategy import Strategy
from splat.datasets.split import told_apart
from splat.options import Options, Watching
from splat.planning import predict
from splat.system.text import span
from splat.training.decide import Decided, decide
from splat.training.time_budget import unsaid
from splat.tuning.settings import Setting, settings
from splat.types import SceneData, View

PIXELS = 8
"""Trials have so many times fewer pixels, and Gaussians."""
SHARE = 0.1
"""Share of the predicted time of the run that trials may take."""
LEAST_STEPS = 300
"""Steps of a trial; with fewer nothing is told from chance."""
LEAST_GAIN = 0.15
"""Gain, dB, below which nothing is suggested: settings that were no better by chance came out
better by less."""
EVERY = 8
"""Of the photos to train on one in so many is held out in a trial; of few photos one in four."""
FEWEST_OUT = 2
"""Photos that a trial holds out at least."""
AGAIN = 2
"""Settings that are tried a second time, with other photos held out and another seed."""
BESIDE = 2 + AGAIN + 1
"""Most trials beside the first of each setting: the usual run twice, some again, two together."""


@dataclass(frozen=True)
class Tried:
    """What came of a setting."""

    words: str
    """As the command line has it."""
    gains: tuple[float, ...]
    """Mean gain over the photos held out, dB, of each trial."""
    spread: float | None
    """Standard error of the first over its photos, dB; None: one photo was held out."""

    @property
    def gain(self) -> float:
        """Gain over what would be done without it, dB."""
        return mean(self.gains)


@dataclass(frozen=True)
class Advice:
    """What to change of a run, and what was seen on the way."""

    tried: tuple[Tried, ...]
    chosen: Setting | None
    """What to change; None: nothing."""
    gain: float
    """Gain that it had in trials, dB."""
    trials: int
    steps: int
    """Of a trial."""
    seconds: float
    """That trials took."""
    predicted: float
    """Predicted seconds of the whole run."""
    why_none: str = ""
    """Why nothing was tried, if so."""

    @property
    def text(self) -> str:
        """All of it for people."""
        if self.why_none:
            return f"nothing was tried: {self.why_none}"
        width = max(len(each.words) for each in self.tried)
        lines = [
            f"{each.words:{width}}  {each.gain:+.2f} dB"
            + (" in two trials" if len(each.gains) > 1 else _error(each.spread))
            for each in sorted(self.tried, key=lambda each: -each.gain)
        ]
        took = f"{self.trials} trials of {self.steps:,} steps took {span(self.seconds)}"
        end = (
            f"keep what is decided: nothing was better by {LEAST_GAIN:g} dB in both of its trials"
            if self.chosen is None
            else f"train with {self.chosen.words}: {self.gain:+.2f} dB in trials"
        )
        return "\n".join(
            [*lines, f"{took}, the run is predicted to take {span(self.predicted)}", end]
        )


class _Trials:
    """Short runs of a scene on small pictures."""

    def __init__(self, scene: SceneData, decided: Decided) -> None:
        self._scene = scene
        self.count, self.began = 0, time.monotonic()
        cameras = [view.camera for view in scene.train]
        side = max(max(camera.width, camera.height) for camera in cameras)
        side = min(round(side / float(decided.options.downscale)), decided.options.max_side or side)
        self.side = max(16, round(side / math.sqrt(PIXELS)))
        self.cap = max(500, decided.strategy.cap // PIXELS) if decided.strategy.cap else 0
        self.steps = 0

    def per_step(self, decided: Decided) -> float:
        """Predicted seconds of a step of a trial."""
        options = replace(decided.options, steps=1000, max_side=self.side, downscale=1.0)
        return _seconds(self._scene, options, decided, self.cap) / 1000

    @property
    def seconds(self) -> float:
        """Seconds since the first began."""
        return time.monotonic() - self.began

    def __call__(self, strategy: Strategy, options: Options, turn: int) -> dict[str, float]:
        """PSNR of each photo that is held out at a turn, dB, by name."""
        self.count += 1
        strategy = strategy.limited(self.cap) if self.cap else strategy
        small = replace(
            options, steps=self.steps, max_side=self.side, downscale=1.0, minutes=None, budget=None,
            psnr=None, patience=0, finish_for=None, seed=options.seed + turn,
        )  # fmt: skip
        scene = told_apart(self._scene, *held_out(self._scene.train, turn), "of a trial")
        with unsaid():
            result = api.train(
                scene, strategy, small, watching=Watching(quiet=True, pictures=False), lpips=None,
            )  # fmt: skip
        return {view["name"]: view["psnr"] for view in result.metrics["per_view"]}


def suggest(
    scene: SceneData,
    strategy: Strategy | None = None,
    options: Options | None = None,
    *,
    named: bool = False,
    share: float = SHARE,
    cap_asked: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Advice:
    """Try settings that nobody asked for on a scene, and say which to take.

    Trials have an eighth of the pixels and of the Gaussians and take `share` of the predicted time
    of the run at most. They hold out photos of those to train on: the photos that the run is
    measured on are never looked at. `named`: the method was asked for, and stays; `tell` is given a
    line before each trial.
    """
    options = options or Options()
    decided = decide(scene, strategy, options, cap_asked=cap_asked)
    asked = list(settings(scene, decided, named=named))
    trials = _Trials(scene, decided)
    whole = _predicted(scene, decided)
    wanted = f"a tenth of {span(whole)}" if share == SHARE else f"{share:.0%} of {span(whole)}"
    per_step = trials.per_step(decided)
    most = int(share * whole / (per_step * LEAST_STEPS)) - BESIDE
    if most < 1 or not asked or len(scene.train) < 2 * FEWEST_OUT:
        why = (
            f"{wanted} is less than the {span(per_step * LEAST_STEPS * (1 + BESIDE))} of the fewest"
            " trials; ask for a longer run, or a larger --share"
        )
        if not asked:
            why = "all that is tried was asked for otherwise"
        elif len(scene.train) < 2 * FEWEST_OUT:
            why = f"there are {len(scene.train)} photos to train on, too few to hold some out"
        return Advice((), None, 0.0, 0, 0, 0.0, whole, why)
    asked = asked[:most]
    affordable = share * whole / (per_step * (len(asked) + BESIDE))
    trials.steps = max(LEAST_STEPS, min(decided.options.steps or PUBLISHED_STEPS, int(affordable)))
    usual: dict[int, dict[str, float]] = {}

    def gained(setting: Setting, turn: int) -> tuple[float, float | None]:
        """Mean gain over the usual run at a turn, and its standard error, dB."""
        if turn not in usual:
            tell("as decided" + (", once more" if turn else ""))
            usual[turn] = trials(decided.strategy, decided.options, turn)
        tell(setting.words + (", once more" if turn else ""))
        found = trials(setting.strategy, setting.options, turn)
        apart = [found[name] - psnr for name, psnr in usual[turn].items()]
        return mean(apart), (stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else None)

    first = [(setting, *gained(setting, 0)) for setting in asked]
    best = sorted(first, key=lambda each: -each[1])[:AGAIN]
    again = {id(s): gained(s, 1)[0] for s, gain, _ in best if gain > LEAST_GAIN}
    tried = {
        id(s): Tried(s.words, (g, again[id(s)]) if id(s) in again else (g,), e) for s, g, e in first
    }
    good = [s for s in asked if id(s) in again and min(tried[id(s)].gains) > LEAST_GAIN]
    good.sort(key=lambda s: -tried[id(s)].gain)
    chosen, gain = (good[0], tried[id(good[0])].gain) if good else (None, 0.0)
    if len(good) > 1 and len({setting.kind for setting in good[:2]}) > 1:
        # What changes the method first: the other one is an option of the run.
        one, other = sorted(good[:2], key=lambda setting: setting.kind != "method")
        both = one.with_(other)
        together, spread = gained(both, 0)
        tried[id(both)] = Tried(both.words, (together,), spread)
        if together > max(tried[id(each)].gains[0] for each in (one, other)):
            chosen, gain = both, together
    return Advice(
        tuple(tried.values()), chosen, gain, trials.count, trials.steps, trials.seconds, whole
    )


def held_out(views: Sequence[View], turn: int) -> tuple[tuple[View, ...], tuple[View, ...]]:
    """Photos to train on and photos held out in a trial, of those that are trained on.

    By their names, spread over all; not the first and the last, which may look where no other
    does. Other ones at another turn.
    """
    order = sorted(views, key=lambda view: view.name)
    every = max(2, min(EVERY, len(order) // (2 * FEWEST_OUT)))
    first = (every // 2 + turn * max(1, every // 3)) % every
    out = [view for i, view in enumerate(order) if i % every == first and 0 < i < len(order) - 1]
    out = out or [order[len(order) // 2]]
    names = {view.name for view in out}
    return tuple(view for view in views if view.name not in names), tuple(out)


def _error(spread: float | None) -> str:
    return "" if spread is None else f" +- {spread:.2f}"


def _predicted(scene: SceneData, decided: Decided) -> float:
    """Predicted seconds of the run itself."""
    if decided.options.minutes is not None:
        return 60 * decided.options.minutes
    return _seconds(scene, decided.options, decided, decided.strategy.cap)


def _seconds(scene: SceneData, options: Options, decided: Decided, cap: int) -> float:
    """Predicted seconds of a run from the points of a scene to `cap` Gaussians (0: no limit)."""
    start = 0 if scene.points is None else len(scene.points.positions)
    start = min(start, cap) if cap else start
    return predict.predict(scene.train, options, decided.device, start, cap).seconds
