"""The request of a user, made into a plan, or added to the plan that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from splat import api
from splat.comparison.asked import OWN
from splat.comparison.plan import (
    FILE,
    HOW,
    OF_RUN,
    Ask,
    Entrant,
    Plan,
    Scene,
    Shared,
    extended_plan,
    plain,
    read_plan,
)
from splat.core.strategy import Strategy
from splat.options import Options, Reading
from splat.planning import predict as sizes
from splat.planning.ladder import rung_for
from splat.recipes import saved
from splat.recipes.parts import with_row_limit
from splat.recipes.recipe import strategy_from_text, text_of, to_text_or_names
from splat.render import choose_device
from splat.runs.folder import fingerprint
from splat.system.version import version

STRATEGIES = ("adc", "mcmc")
"""Strategies that are compared where none is named."""
SEEDS = (0, 1, 2)
LOOKS = 10
"""Measurements on the held-out views in a run where no number is given, the one at its end
included."""
DEFAULTS = Options(resolution="full")
"""Default options of a comparison: full resolution, which rules of growth were published for."""


@dataclass(frozen=True)
class Request:
    """A request; what is left out is as before in a comparison that is there."""

    scenes: tuple[Path, ...] = ()
    strategies: Mapping[str, str | Strategy] = field(default_factory=dict)
    """Recipes, or strategies, by the names of their rows."""
    budgets: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    options: Options = DEFAULTS
    reading: Reading = field(default_factory=Reading)
    eval_every: int = 0
    """Steps between measurements on the held-out views; 0: a tenth of the run."""
    net: str = "alex"
    """Network of LPIPS: alex, vgg or none."""
    off_path: bool = False
    """Measure runs off the path of the photos, too; those that are done likewise."""


def plan_of(request: Request, out: Path) -> tuple[Plan, tuple[Ask, ...]]:
    """The whole plan of the comparison in `out`, and the part of it that is asked for now."""
    _check(request.options)
    old_plan = read_plan(out)
    if old_plan is None:
        _check_vacant(out)
    device = choose_device(request.options.device, request.options.renderer)[0]
    shared = _shared(request, old_plan, device, out)
    scenes = _scenes(request.scenes, shared.reading, old_plan)
    if not scenes and old_plan is None:
        raise ValueError("no scene to compare on; give the folder of at least one")
    asked = dict(request.strategies)
    if not asked and old_plan is None:
        asked = {name: name for name in STRATEGIES}
    entrants = [_entrant(name, strategy, old_plan) for name, strategy in asked.items()]
    if old_plan is not None and not (scenes or entrants or request.budgets or request.seeds):
        return replace(old_plan, shared=shared), old_plan.asks
    ask = Ask(
        scenes=tuple(one.name for one in scenes or (old_plan.scenes if old_plan else ())),
        entrants=tuple(one.name for one in entrants or (old_plan.entrants if old_plan else ())),
        budgets=request.budgets or (old_plan.budgets if old_plan else (rung_for(device).cap,)),
        seeds=request.seeds or (old_plan.seeds if old_plan else SEEDS),
    )
    start = old_plan or Plan(shared, (), (), ())
    return extended_plan(replace(start, shared=shared), scenes, entrants, ask), (ask,)


def within_plan_budget(strategy: Strategy, budget: int) -> Strategy:
    """The strategy with at most so many Gaussians; `OWN`: as it is."""
    return strategy if budget == OWN else with_row_limit(strategy, budget)


def _check(options: Options) -> None:
    for name in OF_RUN:
        if getattr(options, name) != getattr(DEFAULTS, name):
            own = {"seed": "its seeds are given with --seeds", "replay": "strategies are unlike"}
            say = own.get(name, "all runs are as long")
            raise ValueError(f"a comparison has no {name}: {say}; leave it away")


def _check_vacant(out: Path) -> None:
    if out.is_file():
        raise FileExistsError(f"{out} is a file; give the comparison a folder with --out")
    if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise FileExistsError(
            f"{out} is not empty and no comparison, it has no {FILE}; give another folder with"
            " --out"
        )


def _shared(request: Request, old_plan: Plan | None, device: torch.device, out: Path) -> Shared:
    """The settings of all runs: as before, unless something else is asked for."""
    if old_plan is None:
        fitted = sizes.with_device_defaults(request.options, device)
        how = {name: getattr(DEFAULTS, name) for name in HOW}
        assert fitted.steps is not None
        every = request.eval_every or max(1, fitted.steps // LOOKS)
        options = replace(fitted, **how)
        return Shared(
            options, request.reading, every, request.net, device.type, version(), request.off_path
        )
    kept = old_plan.shared
    _same("version", version(), kept.made_by, out)
    _same("--device", device.type, kept.device, out)
    _unchanged(plain(request.options), plain(DEFAULTS), plain(kept.options), out)
    _unchanged(asdict(request.reading), asdict(Reading()), asdict(kept.reading), out)
    more = {"eval_every": request.eval_every, "net": request.net}
    here = {"eval_every": kept.eval_every, "net": kept.net}
    _unchanged(more, {"eval_every": 0, "net": "alex"}, here, out)
    return replace(kept, off_path=kept.off_path or request.off_path)


def _unchanged(
    asked: Mapping[str, Any], default: Mapping[str, Any], recorded: Mapping[str, Any], out: Path
) -> None:
    """Raise ValueError where a value asked for is neither the default nor the recorded one."""
    for name, value in asked.items():
        if value != default[name]:
            _same(f"--{name.replace('_', '-')}", value, recorded[name], out)


def _same(name: str, now: Any, then: Any, out: Path) -> None:
    if now != then:
        raise ValueError(
            f"{out} was begun with {name} {then}, now it is {now}; unlike runs do not compare:"
            " keep to what it was, or give another folder with --out"
        )


def _scenes(paths: Sequence[Path], reading: Reading, old_plan: Plan | None) -> list[Scene]:
    """The scenes in folders, named after the folders, or after their parents, too."""
    there = list(old_plan.scenes) if old_plan else []
    scenes = []
    for path in paths:
        scene = api.read_scene(path, reading)
        if not scene.test:
            raise ValueError(
                f"{path}: no view is held out, so there is nothing to compare on; hold some out,"
                " with --eval 8"
            )
        place, mark = path.resolve(), fingerprint(scene)
        if any(other.path == place and other.mark != mark for other in there):
            raise ValueError(
                f"{path}: the views or points are not those that the comparison was begun with;"
                " restore them, or give another folder with --out"
            )
        # A scene that was moved keeps its name.
        same = next((other.name for other in there if other.mark == mark), None)
        taken = place.name in {other.name for other in there}
        name = same or (f"{place.parent.name}-{place.name}" if taken else place.name)
        points = 0 if scene.points is None else len(scene.points.positions)
        views = len(scene.train), len(scene.test)
        scenes.append(Scene(name, place, scene.format, *views, points, mark))
        there.append(scenes[-1])
    return scenes


def _entrant(name: str, asked: str | Strategy, old_plan: Plan | None) -> Entrant:
    # Defaults are those of the classes: what fits this device would be other numbers on another.
    strategy = strategy_from_text(text_of(asked)) if isinstance(asked, str) else asked
    start = strategy.start
    recipe = to_text_or_names(strategy)
    entrant = Entrant(name, recipe, saved.description_of(strategy), start.opacity, start.scale)
    for other in old_plan.entrants if old_plan else ():
        if other.name == name and other.strategy != entrant.strategy:
            raise ValueError(
                f"{name!r} was {other.recipe!r} before and is {recipe!r} now; give it another name,"
                " as NAME=recipe"
            )
    return entrant
