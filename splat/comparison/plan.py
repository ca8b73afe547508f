"""The plan of a comparison, which lies in its folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from splat.comparison.asked import OWN, budget_text, slug
from splat.options import Options, Reading
from splat.runs.folder import BEFORE
from splat.system.files import write_json
from splat.system.foreign import Broken, filled, reading, record, shown

FORMAT = "splat comparison"
VERSION = 1
FILE = "comparison.json"
_MOST_RUNS = 1 << 20
"""Runs that can be asked for at once."""
HOW = ("threads", "cache", "photo_cache", "device")
"""Options of how a run is carried out, which do not change its result (the device is kept apart).
"""
OF_RUN = ("seed", "budget", "budget_of", "minutes", "psnr", "patience", "replay")
"""Options of a single run, or that end runs unlike one another."""


@dataclass(frozen=True)
class Entrant:
    """A strategy that takes part."""

    name: str
    recipe: str
    """Recipe text: every option that is not the default."""
    strategy: Mapping[str, Any]
    """As `splat.recipes.saved.description_of` gives it, without a budget."""
    opacity: float
    """Opacity of its rows at the start."""
    scale: float
    """Scale of its rows at the start, in mean distances to the nearest points."""


@dataclass(frozen=True)
class Scene:
    """A scene of the comparison."""

    name: str
    path: Path
    format: str
    train: int
    """Number of views that are trained on."""
    test: int
    """Number of held-out views."""
    points: int
    """Number of points to start from; 0: random ones."""
    mark: str
    """Hash of cameras, names of views and points."""


@dataclass(frozen=True)
class Shared:
    """Settings that are the same for every run."""

    options: Options
    """Every value decided; without the seed and the options in `HOW`."""
    reading: Reading
    eval_every: int
    """Steps between measurements on the held-out views."""
    net: str
    """Network of LPIPS; none: no LPIPS."""
    device: str
    """The device, cpu or cuda."""
    made_by: str
    """Version of splat that made the plan."""
    off_path: bool = False
    """Whether runs are measured off the path of the photos, too."""


@dataclass(frozen=True)
class Ask:
    """A request for every combination of these."""

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
        """Folder of the run within the comparison's runs, unique."""
        budget = budget_text(self.budget)
        return f"{slug(self.scene)}/{slug(self.entrant)}-{budget}-seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Everything that was ever asked for, in the order in which it was first asked for."""

    shared: Shared
    scenes: tuple[Scene, ...]
    entrants: tuple[Entrant, ...]
    asks: tuple[Ask, ...]

    @property
    def budgets(self) -> tuple[int, ...]:
        """All budgets in ascending order; `OWN` comes last."""
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
    """Write the plan into the folder of its comparison."""
    record = asdict(plan)
    record["shared"]["options"] = plain(plan.shared.options)
    write_json(out / FILE, {"format": FORMAT, "version": VERSION, **record})


def plain(options: Options) -> dict[str, Any]:
    """The options that all runs share, as JSON can hold them."""
    values = {f.name: getattr(options, f.name) for f in fields(Options)}
    kept = {name: value for name, value in values.items() if name not in (*HOW, *OF_RUN)}
    return {**kept, "init": kept["init"] and str(kept["init"])}


def read_plan(out: Path) -> Plan | None:
    """The plan in a folder; None where there is none."""
    path = out / FILE
    if not path.is_file():
        return None
    with reading(path, "the plan of a comparison of this version: use the splat that wrote it"):
        plan = record(path)
        wrong = "does not describe a comparison; give a folder of `splat compare`"
        plan.check_format(FORMAT, VERSION, wrong)
        shared, options = plan.record("shared"), {**plan.record("shared").record("options")}
        if options.get("init") is not None:
            options["init"] = Path(shared.record("options").text("init"))
        together = {
            "options": filled(Options, {**BEFORE, **options}),
            "reading": filled(Reading, shared.record("reading")),
        }
        asks = [{n: tuple(ask.entries(n)) for n in ask} for ask in plan.records("asks")]
        return _checked(
            Plan(
                filled(Shared, {**shared, **together}),
                tuple(
                    filled(Scene, {**each, "path": Path(each.text("path"))})
                    for each in plan.records("scenes")
                ),
                tuple(filled(Entrant, entrant) for entrant in plan.records("entrants")),
                tuple(filled(Ask, ask) for ask in asks),
            )
        )


def _checked(plan: Plan) -> Plan:
    """The plan; raises `Broken` where its runs are of nothing, or lie elsewhere."""
    scenes, entrants = ({each.name for each in some} for some in (plan.scenes, plan.entrants))
    for ask in plan.asks:
        if unknown := ({*ask.scenes} - scenes) | ({*ask.entrants} - entrants):
            raise Broken(f"asks for {shown(min(unknown))}, which it does not describe")
        if min(ask.seeds, default=0) < 0 or math.prod(map(len, vars(ask).values())) > _MOST_RUNS:
            raise Broken(f"asks for runs that cannot be; expected at most {_MOST_RUNS:,}")
    return plan


def extended_plan(
    plan: Plan, scenes: Sequence[Scene], entrants: Sequence[Entrant], ask: Ask
) -> Plan:
    """The plan with more scenes, entrants and runs; ValueError where names would clash."""
    asks = plan.asks if ask in plan.asks else (*plan.asks, ask)
    plan_now = Plan(
        plan.shared, _united(plan.scenes, scenes), _united(plan.entrants, entrants), asks
    )
    for kind, names in (
        ("scenes", [scene.name for scene in plan_now.scenes]),
        ("strategies", [entrant.name for entrant in plan_now.entrants]),
    ):
        names_by_slug: dict[str, str] = {}
        for name in names:
            other = names_by_slug.setdefault(slug(name).lower(), name)
            if other != name:
                raise ValueError(
                    f"the {kind} {other!r} and {name!r} would share a folder; give one of them"
                    " another name, as NAME=recipe"
                )
    return plan_now


def _united(old: tuple[Any, ...], more: Sequence[Any]) -> tuple[Any, ...]:
    """The old ones, updated where a new one has the same name, then the new ones."""
    now = {one.name: one for one in more}
    return tuple(now.pop(one.name, one) for one in old) + tuple(now.values())
