"""What is compared with what: the plan of a comparison, which lies in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from splat.comparison.asked import OWN, budget_said, slug
from splat.options import Options, Reading
from splat.system.files import read_json, write_json

FORMAT = "splat comparison"
VERSION = 1
FILE = "comparison.json"
HOW = ("threads", "cache", "photo_cache", "device")
"""Options that say how a run is carried out, not what comes of it (the device is kept apart)."""
OF_RUN = ("seed", "budget", "budget_of", "minutes", "psnr", "patience", "replay")
"""Options that belong to one run, or end runs unlike one another."""


@dataclass(frozen=True)
class Entrant:
    """A strategy that takes part."""

    name: str
    recipe: str
    """All of it that is not the default."""
    strategy: Mapping[str, Any]
    """As `splat.recipes.saved.described` gives it, without a budget."""
    opacity: float
    """What it starts with, and"""
    scale: float
    """its scale, in mean distances to the nearest points."""


@dataclass(frozen=True)
class Scene:
    """A scene that strategies are compared on."""

    name: str
    path: Path
    format: str
    train: int
    """Views that are trained on,"""
    test: int
    """and views held out."""
    points: int
    """Points to start from; 0: random ones."""
    mark: str
    """A hash of cameras, names of views and points."""


@dataclass(frozen=True)
class Shared:
    """What is the same for every run."""

    options: Options
    """With everything said that would be left to the device; seed and `HOW` are not in it."""
    reading: Reading
    eval_every: int
    """Steps between looks at the held-out views."""
    net: str
    """Of LPIPS; none: no LPIPS."""
    device: str
    """cpu or cuda."""
    made_by: str
    """Version of splat."""


@dataclass(frozen=True)
class Ask:
    """Every scene, with every entrant, budget and seed of these."""

    scenes: tuple[str, ...]
    entrants: tuple[str, ...]
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One run of a comparison."""

    scene: str
    entrant: str
    budget: int
    seed: int

    @property
    def key(self) -> str:
        """Its folder within the comparison's runs."""
        budget = budget_said(self.budget)
        return f"{slug(self.scene)}/{slug(self.entrant)}-{budget}-seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """All that is asked for, in the order in which it was first asked for."""

    shared: Shared
    scenes: tuple[Scene, ...]
    entrants: tuple[Entrant, ...]
    asks: tuple[Ask, ...]

    @property
    def budgets(self) -> tuple[int, ...]:
        """All budgets, the smallest first; those without one come last."""
        every = {budget for ask in self.asks for budget in ask.budgets}
        return tuple(sorted(every, key=lambda budget: (budget == OWN, budget)))

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({seed for ask in self.asks for seed in ask.seeds}))

    def scene(self, name: str) -> Scene:
        return next(scene for scene in self.scenes if scene.name == name)

    def entrant(self, name: str) -> Entrant:
        return next(entrant for entrant in self.entrants if entrant.name == name)

    def entries(self, asks: Sequence[Ask] | None = None) -> list[Entry]:
        """The runs that asks (None: all) want, in an order in which few of them say much: each
        strategy once everywhere, before any of them has a second seed."""
        wanted = {entry for ask in (self.asks if asks is None else asks) for entry in _product(ask)}
        whole = Ask(
            tuple(scene.name for scene in self.scenes),
            tuple(entrant.name for entrant in self.entrants),
            self.budgets,
            self.seeds,
        )
        return [entry for entry in _product(whole) if entry in wanted]


def _product(ask: Ask) -> Iterator[Entry]:
    for seed in ask.seeds:
        for scene in ask.scenes:
            for budget in ask.budgets:
                for entrant in ask.entrants:
                    yield Entry(scene, entrant, budget, seed)


def write_plan(plan: Plan, out: Path) -> None:
    """Keep a plan in the folder of its comparison."""
    record = asdict(plan)
    record["shared"]["options"] = plain(plan.shared.options)
    write_json(out / FILE, {"format": FORMAT, "version": VERSION, **record})


def plain(options: Options) -> dict[str, Any]:
    """The options that are the same for every run, as JSON can hold them."""
    values = {f.name: getattr(options, f.name) for f in fields(Options)}
    kept = {name: value for name, value in values.items() if name not in (*HOW, *OF_RUN)}
    return {**kept, "init": kept["init"] and str(kept["init"])}


def read_plan(out: Path) -> Plan | None:
    """The plan in a folder; None where there is none."""
    path = out / FILE
    if not path.is_file():
        return None
    record = read_json(path)
    if type(record) is not dict or record.get("format") != FORMAT:
        raise ValueError(f"{path} does not describe a comparison; give a folder of `splat compare`")
    if record["version"] > VERSION:
        raise ValueError(f"{path} was written by a newer splat; upgrade splat-toolkit")
    try:
        shared = dict(record["shared"])
        options = shared["options"]
        shared["options"] = Options(
            **{**options, "init": options["init"] and Path(options["init"])}
        )
        shared["reading"] = Reading(**shared["reading"])
        return Plan(
            Shared(**shared),
            tuple(Scene(**{**s, "path": Path(s["path"])}) for s in record["scenes"]),
            tuple(Entrant(**entrant) for entrant in record["entrants"]),
            tuple(Ask(**{n: tuple(v) for n, v in ask.items()}) for ask in record["asks"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} does not fit this version of splat ({error}); use the one that wrote it"
        ) from None


def joined(plan: Plan, scenes: Sequence[Scene], entrants: Sequence[Entrant], ask: Ask) -> Plan:
    """A plan with more scenes, entrants and runs; raises ValueError where names would clash."""
    asks = plan.asks if ask in plan.asks else (*plan.asks, ask)
    found = Plan(plan.shared, _united(plan.scenes, scenes), _united(plan.entrants, entrants), asks)
    for kind, names in (
        ("scenes", [scene.name for scene in found.scenes]),
        ("strategies", [entrant.name for entrant in found.entrants]),
    ):
        known: dict[str, str] = {}
        for name in names:
            other = known.setdefault(slug(name).lower(), name)
            if other != name:
                raise ValueError(
                    f"the {kind} {other!r} and {name!r} would share a folder; give one of them"
                    " another name, as NAME=recipe"
                )
    return found


def _united(known: tuple[Any, ...], more: Sequence[Any]) -> tuple[Any, ...]:
    """Those known, as they are now, then those that are new."""
    now = {one.name: one for one in more}
    return tuple(now.pop(one.name, one) for one in known) + tuple(now.values())
