"""`Strategy`: how rows come, go and move; `Fixed` leaves them as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro
from jaxtyping import Bool
from torch import Tensor

from splat.core.edit import Edit, Rows
from splat.core.model import Making, Model, explicit
from splat.core.region import Region
from splat.core.step import Step
from splat.system.ranges import at_least, check_fields
from splat.types import Needs

if TYPE_CHECKING:
    from splat.core.objective import Objective


@dataclass(frozen=True)
class Start:
    """Opacity, scale and number of rows that are made from points."""

    opacity: float = 0.1
    scale: float = 1.0
    """Scale, in units of the mean distance to the three nearest points."""
    fill: int = 0
    """Rows to start with where there are fewer points: the rest are copies of these, moved by about
    the distance to their neighbours. 0: as many as there are points."""
    moves_within: float = 0.0
    """Time, in clips, for which a row is there at first. What goes far in it is looked for in the
    photos, and begins as points of each instant (`splat.seeding.moved`). 0: it is not."""


class Strategy(ABC):
    """Decides when rows grow, move and are pruned.

    An object is constant: what it remembers of rows lies in statistics of the cloud, its draws
    come from `step.generator(purpose)`. So it can be used for many runs, and resume needs nothing
    from it. To change a strategy, wrap it; do not subclass a concrete one.
    """

    known_as: ClassVar[str] = ""
    """Its name in a recipe; empty: the name of its class in lower case."""
    of_start: ClassVar[frozenset[str]] = frozenset()
    """Fields that say how rows begin, and nothing once a run goes on."""
    handles: str = "gaussians"
    """Kind of rows it is for; empty: any."""
    draws: int = 1
    """About how many Gaussians a row makes in a picture (`Model.draws`)."""
    row_bytes: int = 0
    """Bytes of a row in the method's own file, before a part codes it; 0: rows are Gaussians, as
    other files hold."""
    needs: Needs = Needs()
    """What it asks of the renderer at every step."""
    start: Start = Start()
    """Opacity and scale of rows that are made from points."""
    cap: int = 0
    """Most rows there may be, 0 for no limit; runs do not start with more."""
    resets: bool = False
    """Whether it ever resets opacity: makes all rows faint at once."""
    undivided: str = "what it proposes depends on all of them"
    """Why it cannot be given a share of the rows of a run (`Cloud.shard`), as a clause of a
    sentence on them; empty: it can."""
    recycles: bool = False
    """Whether it relocates dead rows, so that it fills up to its cap whatever others drop; then it
    is a `Recycler`."""

    def __post_init__(self) -> None:
        """Hold fields to their ranges (`splat.system.ranges`); a class with checks of its own
        calls this first."""
        check_fields(self)

    def scheduled(self, steps: int) -> Strategy:
        """This strategy with its step numbers, published for 30,000 steps, fitted to `steps`.

        `splat.core.schedule` has the rules; a strategy without step numbers returns itself.
        """
        del steps
        return self

    def limited(self, cap: int, by: int = 0) -> Strategy:
        """This strategy with `cap` rows at most, or fewer where it has fewer.

        `by` is a step at which to be as many: a pace of its own (a field `full_by`) gives way to
        it; 0 leaves it. A strategy without a field `cap` returns itself and `cap` binds nothing:
        `--budget` then leaves births out (the part `budget`).
        """
        if not is_dataclass(self):
            return self
        names = {field.name for field in fields(self)}
        if "cap" not in names:
            return self
        pace = {"full_by": by} if by and "full_by" in names else {}
        return replace(self, cap=min(cap, self.cap or cap), **pace)

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        """What it does after which steps (counted as done) of a run of `steps`, for people.

        Asked of a strategy that is already fitted to the run. What it does at every step is left
        out. Acts after which rows may be born have grow, split or clone in their names.
        """
        del steps
        return {}

    def region(self) -> Region | None:
        """The region to which exported files are cropped; None: everywhere."""
        return None

    def objectives(self) -> Mapping[str, Objective]:
        """Terms of the loss that belong to the method (MCMC's regularisers)."""
        return {}

    def model(self, rows: Rows, making: Making) -> Model:
        """The model that draws its rows.

        `rows` are those that `columns_of` makes of Gaussians to start from, or the columns of a
        cloud of such a model, whose state is then loaded.
        """
        return explicit(rows, making)

    def begin(self, model: Model) -> None:
        """Declare statistics with `model.cloud.track`; called once a run, before a resume loads."""
        del model

    def observe(self, step: Step) -> None:
        """Accumulate statistics: after backward, before the optimizer."""
        del step

    @abstractmethod
    def refine(self, step: Step) -> Edit | None:
        """Propose an edit: after the optimizer, every step. It changes nothing itself.

        It depends on rows, statistics, surveys and `step.generator` only, not on the picture of
        the step: where several processes train together, each has another one, and all of them
        must propose the same.
        """


def recipe_name_of(kind: type[Any]) -> str:
    """The name in a recipe of a method or a part of this class."""
    return vars(kind).get("known_as") or kind.__name__.lower()


@dataclass(frozen=True)
class Fixed(Strategy):
    """No density control: the points one starts from are the Gaussians one ends with."""

    fill: Annotated[int, at_least(0)] = 0
    """Gaussians to start from: where there are fewer points these are copied, moved by about the
    distance to their neighbours. 0: as many as there are points."""

    handles = ""
    undivided = ""
    of_start = frozenset({"fill"})

    @property
    def start(self) -> Start:  # type: ignore[override]
        return Start(fill=self.fill)

    def limited(self, cap: int, by: int = 0) -> Strategy:
        """Filled up to `cap` at most; points beyond it are not left out."""
        del by
        return replace(self, fill=min(self.fill, cap))

    def refine(self, step: Step) -> Edit | None:
        del step
        return None


class Recycler(Strategy):
    """A strategy that relocates dead rows, and those that another part calls dead."""

    recycles = True

    @abstractmethod
    def recycle(self, step: Step, rows: Bool[Tensor, "n"]) -> Edit | None:
        """As `refine`, with these rows relocated too, whether or not a refinement is due."""


@dataclass(frozen=True)
class Wrapper(Recycler):
    """Another strategy, altered: everything is the base's unless a subclass says otherwise.

    It is a `Recycler` where its base is one (`recycles`). A subclass that alters what the base
    proposes overrides `altered`, one with rows of its own to relocate or to prune `proposal`, so
    that `refine` and `recycle` give the same.
    """

    base: Annotated[Strategy, tyro.conf.Suppress] = Fixed()
    """The strategy that is altered; on the command line what stands before the `+`."""

    @property
    def handles(self) -> str:  # type: ignore[override]
        return self.base.handles

    @property
    def draws(self) -> int:  # type: ignore[override]
        return self.base.draws

    @property
    def row_bytes(self) -> int:  # type: ignore[override]
        return self.base.row_bytes

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return self.base.needs

    @property
    def start(self) -> Start:  # type: ignore[override]
        return self.base.start

    @property
    def cap(self) -> int:  # type: ignore[override]
        return self.base.cap

    @property
    def resets(self) -> bool:  # type: ignore[override]
        return self.base.resets

    @property
    def recycles(self) -> bool:  # type: ignore[override]
        return self.base.recycles

    def scheduled(self, steps: int) -> Strategy:
        return replace(self, base=self.base.scheduled(steps))

    def limited(self, cap: int, by: int = 0) -> Strategy:
        return replace(self, base=self.base.limited(cap, by))

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        return self.base.acts(steps)

    def region(self) -> Region | None:
        return self.base.region()

    def objectives(self) -> Mapping[str, Objective]:
        return self.base.objectives()

    def model(self, rows: Rows, making: Making) -> Model:
        return self.base.model(rows, making)

    def begin(self, model: Model) -> None:
        self.base.begin(model)

    def observe(self, step: Step) -> None:
        self.base.observe(step)

    def refine(self, step: Step) -> Edit | None:
        return self.proposal(step, None)

    def recycle(self, step: Step, rows: Bool[Tensor, "n"]) -> Edit | None:
        return self.proposal(step, rows)

    def proposal(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
        """The edit, `rows` relocated too where some are given."""
        return self.altered(step, proposal(self.base, step, rows))

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        """The edit that the base proposes, altered."""
        del step
        return edit


def proposal(strategy: Strategy, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
    """What a strategy proposes, `rows` relocated too where some are given."""
    return strategy.refine(step) if rows is None else recycler(strategy).recycle(step, rows)


def recycler(strategy: Strategy) -> Recycler:
    """The strategy as one that relocates dead rows; raises ValueError where it does not."""
    if strategy.recycles and isinstance(strategy, Recycler):
        return strategy
    raise ValueError(
        f"{type(strategy).__name__} does not move rows that are as good as dead, which was asked"
        " of it; put this behind a method that does, such as mcmc"
    )
