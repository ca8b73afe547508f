"""Several strategies on one cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Bool
from torch import Tensor

from splat.core.edit import Edit, Rows
from splat.core.families import limited_births, merged_edits
from splat.core.fields import parts_with_ways
from splat.core.model import Making, Model
from splat.core.objective import Objective
from splat.core.region import Region, intersection
from splat.core.step import Step
from splat.core.strategy import Recycler, Start, Strategy, Wrapper, recipe_name_of, recycler
from splat.types import Needs


@dataclass(frozen=True)
class Chain(Recycler):
    """Several strategies at once: each proposes from the same rows, and their edits are added.

    A row that one of them drops is no parent and gives nothing away in the others' edits: births
    and moves of its family do not happen. Of two families with a row in common that of the
    earlier strategy stays. Rows begin as the first has it, and there are never more than the
    least of the caps.
    """

    parts: tuple[Strategy, ...]
    """The strategies, in the order in which they were given."""

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ValueError(f"a chain of {len(self.parts)}; expected two strategies or more")
        kinds = {part.handles: part for part in self.parts if part.handles}
        if len(kinds) > 1:
            (one, first), (other, second), *_ = kinds.items()
            raise ValueError(
                f"{_name(first)} is for rows that are {one}, and {_name(second)} for {other}, which"
                " one cloud cannot both be; take one of them"
            )
        movers = [_name(part) for part in self.parts if part.recycles]
        faders = [_name(part) for part in self.parts if part.resets]
        if len(movers) > 1:
            raise ValueError(
                f"{movers[0]} and {movers[1]} both move dead rows, and would move the same ones;"
                " take one of them"
            )
        if movers and faders:
            raise ValueError(
                f"{faders[0]} makes all rows faint now and then, and {movers[0]} takes faint rows"
                f" for dead and moves them; take one of them, or {faders[0]} without resets"
            )
        if len(faders) > 1:
            raise ValueError(
                f"{faders[0]} and {faders[1]} both reset opacity, each undoing the other's; take"
                " one of them, or one without resets"
            )

    @property
    def handles(self) -> str:  # type: ignore[override]
        return self._main.handles

    @property
    def draws(self) -> int:  # type: ignore[override]
        return self._main.draws

    @property
    def row_bytes(self) -> int:  # type: ignore[override]
        return self._main.row_bytes

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        needs = Needs()
        for part in self.parts:
            needs = needs | part.needs
        return needs

    @property
    def start(self) -> Start:  # type: ignore[override]
        return self.parts[0].start

    @property
    def cap(self) -> int:  # type: ignore[override]
        return min((part.cap for part in self.parts if part.cap), default=0)

    @property
    def resets(self) -> bool:  # type: ignore[override]
        return any(part.resets for part in self.parts)

    @property
    def recycles(self) -> bool:  # type: ignore[override]
        return any(part.recycles for part in self.parts)

    def scheduled(self, steps: int) -> Strategy:
        return replace(self, parts=tuple(part.scheduled(steps) for part in self.parts))

    def limited(self, cap: int, by: int = 0) -> Strategy:
        return replace(self, parts=tuple(part.limited(cap, by) for part in self.parts))

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        acts: dict[str, set[int]] = {}
        for part in self.parts:
            for act, done in part.acts(steps).items():
                acts.setdefault(act, set()).update(done)
        return {act: sorted(done) for act, done in acts.items()}

    def region(self) -> Region | None:
        region: Region | None = None
        for part in self.parts:
            own = part.region()
            region = region if own is None else intersection(region, own)
        return region

    def objectives(self) -> Mapping[str, Objective]:
        terms: dict[str, Objective] = {}
        for place, part in enumerate(self.parts, 1):
            for name, objective in part.objectives().items():
                terms[f"{name}_{place}" if name in terms else name] = objective
        return terms

    def model(self, rows: Rows, making: Making) -> Model:
        return self._main.model(rows, making)

    def begin(self, model: Model) -> None:
        for part in self.parts:
            part.begin(model)

    def observe(self, step: Step) -> None:
        for place, part in enumerate(self.parts):
            part.observe(_stream_of(step, place))

    def refine(self, step: Step) -> Edit | None:
        steps = [_stream_of(step, place) for place in range(len(self.parts))]
        return self._one(
            step, [part.refine(own) for part, own in zip(self.parts, steps, strict=True)]
        )

    def recycle(self, step: Step, rows: Bool[Tensor, "n"]) -> Edit | None:
        recycler(self)
        edits = []
        for place, part in enumerate(self.parts):
            own = _stream_of(step, place)
            moves = part.recycles
            edits.append(recycler(part).recycle(own, rows) if moves else part.refine(own))
        return self._one(step, edits)

    @property
    def _main(self) -> Strategy:
        """The first that is for rows of one kind, or else the first."""
        return next((part for part in self.parts if part.handles), self.parts[0])

    def _one(self, step: Step, edits: Sequence[Edit | None]) -> Edit | None:
        cloud = step.model.cloud
        return limited_births(merged_edits(edits, cloud), cloud, self.cap)


def _stream_of(step: Step, place: int) -> Step:
    """The step with draws of its own for each strategy but the first, whose are as if alone."""
    if not place:
        return step
    return replace(step, generator=lambda purpose: step.generator(f"{place}/{purpose}"))


def _name(strategy: Strategy) -> str:
    return type(strategy).__name__.lower()


def check_makes_the_model(part: Wrapper) -> None:
    """Raise ValueError where a part that makes the model stands behind rows that are no Gaussians,
    or behind another one that makes a model."""
    own = recipe_name_of(type(part))
    if part.base.handles not in ("", "gaussians"):
        raise ValueError(
            f"{own} is for rows that are Gaussians, and {recipe_name_of(type(part.base))} has"
            f" {part.base.handles}, which networks make Gaussians of; put it after another method:"
            f" adc + {own}"
        )
    for _, other in parts_with_ways(part.base):
        if type(other).model not in (Strategy.model, Wrapper.model, Chain.model):
            name = recipe_name_of(type(other))
            raise ValueError(
                f"{own} makes the model, and {name}, which stands before it, makes one too; put"
                f" {own} first: adc + {own} + {name}"
            )
