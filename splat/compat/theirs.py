"""A strategy of gsplat in our loop.

gsplat's strategies change parameters and optimizers themselves. Here they are given copies of both,
with the row that each row is of beside them; what they made of the copies is proposed as an edit,
and the cloud carries it out. What they remember (their `state`) is kept with the model, follows
edits of other parts, and is saved with a run. Their random numbers are torch's global ones, which
are seeded for the call by step and purpose, so that a resumed run goes on as one that was not cut.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import tyro
from jaxtyping import Int
from torch import Tensor

from splat.compat.names import ours_of, theirs_of
from splat.core.edit import Append, Assign, Change, Drop, Edit, Overwrite, Rows
from splat.core.model import AlteredModel, Making, Model, explicit
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.rules import window
from splat.types import Needs

_ROW, _SLOT = "splat_row", "slot"
"""The parameter that says which row each row is of, and what its optimizer remembers: 1 + the row
that is still in its place, 0 of one that is new or given away."""


@dataclass(frozen=True)
class FromGsplat(Strategy):
    """A strategy of gsplat (`DefaultStrategy`, `MCMCStrategy`, or one with their interface).

    Called as gsplat's example trainer calls it, once the optimizers have stepped. Rows have the
    learning rates of this run; a scene's scale is the extent of training, which is near 1. What a
    strategy of gsplat's asks of the loss (MCMC's regularisers) is the trainer's there: put it
    behind our `mcmc`'s terms or leave it out. Every step copies all rows, which takes some ten
    milliseconds of a million.
    """

    theirs: Annotated[Any, tyro.conf.Suppress] = None
    """The strategy, an object of gsplat's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(self.theirs, "step_post_backward"):
            raise ValueError(
                f"{type(self.theirs).__name__} is no strategy of gsplat; expected an object with"
                " step_post_backward, such as gsplat.DefaultStrategy()"
            )

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(absolute_gradient=bool(getattr(self.theirs, "absgrad", False)))

    @property
    def cap(self) -> int:  # type: ignore[override]
        return int(getattr(self.theirs, "cap_max", 0))

    def model(self, rows: Rows, making: Making) -> Model:
        return _Remembering(explicit(rows, making))

    def refine(self, step: Step) -> Edit | None:
        model = _remembering(step.model)
        if model.state is None:
            model.state = self._initial(step.extent)
        copies = _Copies.of(step)
        state, info = model.state, _info(step, self.needs.absolute_gradient)
        given: dict[str, Any] = {
            "params": copies.params, "optimizers": copies.optimizers, "state": state,
            "step": step.number, "info": info,
        }  # fmt: skip
        seed = step.generator("gsplat").initial_seed()
        with torch.random.fork_rng(devices=_devices(step)), torch.no_grad():
            torch.manual_seed(seed)
            _called(self.theirs.step_pre_backward, given)
            for screen in (info["means2d"], info["gradient_2dgs"]):
                screen.grad = info["screen_gradient"]
            lr = step.model.cloud.rate("mean", step.number)
            _called(self.theirs.step_post_backward, {**given, "packed": False, "lr": lr})
        edit, placed, parents = copies.edit()
        # Their state has the rows of the edit already.
        model.proposed = _Proposed(edit, _by_row(state, placed, parents, copies.rows))
        return edit

    def _initial(self, extent: float) -> dict[str, Any]:
        made: dict[str, Any] = _called(self.theirs.initialize_state, {"scene_scale": extent})
        return made


def from_gsplat(strategy: Any) -> FromGsplat:
    """A strategy of gsplat for `splat.train`."""
    return FromGsplat(strategy)


class _Remembering(AlteredModel):
    """The model of the rows, and what gsplat's strategy remembers."""

    state: dict[str, Any] | None = None
    proposed: _Proposed | None = None
    """What was proposed at this step."""

    def apply(self, edit: Edit | None) -> Change:  # type: ignore[override]
        proposed, self.proposed = self.proposed, None
        change = super().apply(edit)
        if proposed is not None and proposed.edit is edit:
            return change
        # Another edit was made of it: by other parts, or of what they left of it.
        if proposed is not None and self.state is not None:
            self.state |= proposed.remembered
        if change.parents is not None:
            self._follow(change.parents, change.before)
        return change

    def order_rows(self) -> Int[Tensor, "n"] | None:
        order = super().order_rows()
        if order is not None:
            self._follow(order, len(order))
        return order

    def get_extra_state(self) -> Any:
        return {**super().get_extra_state(), "gsplat": self.state}

    def set_extra_state(self, state: Any) -> None:
        own = dict(state)
        self.state = own.pop("gsplat", None)
        super().set_extra_state(own)

    def _follow(self, parents: Int[Tensor, "n"], before: int) -> None:
        """Have what is remembered of rows follow them; of rows of nobody it is 0."""
        for name, values in (self.state or {}).items():
            if isinstance(values, Tensor) and values.ndim and len(values) == before:
                moved = values[parents.clamp_min(0).to(values.device)]
                moved[(parents < 0).to(values.device)] = 0
                assert self.state is not None
                self.state[name] = moved


@dataclass(frozen=True)
class _Proposed:
    """An edit, and what is remembered once it is made, by the rows before it."""

    edit: Edit | None
    remembered: dict[str, Tensor]


def _by_row(
    state: Mapping[str, Any], placed: Int[Tensor, "m"], parents: Int[Tensor, "m"], n: int
) -> dict[str, Tensor]:
    """What is remembered of rows after an edit, by the row before it that each is or comes from;
    0 of rows that left nothing."""
    found = {}
    rows = torch.where(placed >= 0, placed, parents)
    for name, values in state.items():
        if isinstance(values, Tensor) and values.ndim and len(values) == len(placed):
            kept = values.new_zeros(n, *values.shape[1:])
            # A row that is still there goes before its children: the last one written stays.
            for index in ((placed < 0).nonzero()[:, 0], (placed >= 0).nonzero()[:, 0]):
                kept[rows[index].to(kept.device)] = values[index.to(values.device)]
            found[name] = kept
    return found


def _remembering(model: Model) -> _Remembering:
    while not isinstance(model, _Remembering):
        if not isinstance(model, AlteredModel):
            raise ValueError(
                "the model of this run does not keep what a strategy of gsplat remembers; put the"
                " strategy first, before parts such as + significance"
            )
        model = model.base
    return model


@dataclass
class _Copies:
    """Copies of the rows and of Adam's moments, as gsplat has them."""

    params: dict[str, torch.nn.Parameter]
    optimizers: dict[str, Any]
    before: dict[str, Tensor]
    """What the copies were of, by our names."""

    @classmethod
    def of(cls, step: Step) -> _Copies:
        cloud = step.model.cloud
        before = {name: cloud[name].detach() for name in cloud.names}
        if {*before} != {"mean", "quat", "log_scale", "opacity_logit", "sh"}:
            raise ValueError(
                f"a strategy of gsplat is for rows that are Gaussians and no more; these have"
                f" {', '.join(sorted(before))}"
            )
        first = theirs_of({name: cloud.moments(name)[0] for name in before})
        second = theirs_of({name: cloud.moments(name)[1] for name in before})
        params = {n: torch.nn.Parameter(values) for n, values in theirs_of(before).items()}
        optimizers: dict[str, Any] = {}
        for name, values in params.items():
            rate = cloud.rate("mean", step.number) if name == "means" else 0.0
            optimizer = torch.optim.Adam([{"params": [values], "lr": rate, "name": name}])
            optimizer.state[values] = {
                "step": torch.tensor(float(step.number + 1)),
                "exp_avg": first[name], "exp_avg_sq": second[name],
            }  # fmt: skip
            optimizers[name] = optimizer
        # Doubles hold every number of a row.
        rows = torch.arange(len(cloud), dtype=torch.float64, device=cloud.device)
        tag = torch.nn.Parameter(rows)
        tagged = torch.optim.Adam([{"params": [tag], "lr": 0.0, "name": _ROW}])
        tagged.state[tag] = {"step": torch.tensor(0.0), _SLOT: rows + 1}
        return cls({**params, _ROW: tag}, {**optimizers, _ROW: tagged}, before)

    @property
    def rows(self) -> int:
        """Rows before the call."""
        return len(self.before["mean"])

    def edit(self) -> tuple[Edit | None, Int[Tensor, "m"], Int[Tensor, "m"]]:
        """What was done to the copies (None: nothing), which row each of theirs still is (-1: it is
        born), and which it comes from."""
        after = ours_of(self.params)
        parents = self.params[_ROW].detach().long()
        slots = self.optimizers[_ROW].state[self.params[_ROW]][_SLOT].long() - 1
        placed = _in_place(slots, parents, after, self.before)
        n = self.rows
        stay, born = placed >= 0, placed < 0
        index = placed[stay]
        there = torch.zeros(n, dtype=torch.bool, device=index.device)
        there[index] = True
        values = {name: column[stay] for name, column in after.items()}
        edit = Edit()
        if there.all():
            edit += self._overwritten(values)
        done = {each.name for each in edit.overwrite}
        changed = torch.zeros(len(index), dtype=torch.bool, device=index.device)
        for name in values.keys() - done:
            differs = values[name] != self.before[name][index]
            changed |= differs if differs.ndim == 1 else differs.flatten(1).any(1)
        given_away = slots[stay] < 0
        for rows, moments in ((changed & ~given_away, "keep"), (given_away, "zero")):
            if rows.any():
                new = {name: values[name][rows] for name in values.keys() - done}
                edit += Edit(
                    assign=(
                        Assign(index[rows], new, "gsplat", moments, parents[stay][rows]),  # type: ignore[arg-type]
                    )
                )
        if born.any():
            rows_of = {name: column[born] for name, column in after.items()}
            edit += Edit(append=(Append(rows_of, parents[born], "gsplat"),))
        if not there.all():
            edit += Edit(drop=(Drop((~there).nonzero()[:, 0], "gsplat"),))
        return edit if edit != Edit() else None, placed, parents

    def _overwritten(self, values: Mapping[str, Tensor]) -> Edit:
        """Opacities that were set anew with their moments (a reset), where they were."""
        optimizer, before = self.optimizers["opacities"], self.before["opacity_logit"]
        state = optimizer.state[self.params["opacities"]]
        forgot = not state["exp_avg"].any() and not state["exp_avg_sq"].any()
        if not forgot or torch.equal(values["opacity_logit"], before):
            return Edit()
        return Edit(overwrite=(Overwrite("opacity_logit", values["opacity_logit"], "gsplat"),))


def _in_place(
    slots: Int[Tensor, "m"],
    parents: Int[Tensor, "m"],
    after: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
) -> Int[Tensor, "m"]:
    """The row that each row still is, -1 of those that are born.

    Operations of gsplat's keep the order of rows and put new ones behind them: rows up to the last
    one that is known are in their old places, those among them whose moments were taken (`slots`
    -1) gave to another. Behind it a row is still one of these where its mean is what it was and its
    number rises; the first that is not begins the new ones. (A copy that is taken for the row whose
    place it has makes the same cloud.)
    """
    placed = slots.clone()
    known = int((slots >= 0).nonzero().max()) + 1 if bool((slots >= 0).any()) else 0
    placed[:known] = torch.where(slots[:known] < 0, parents[:known], slots[:known])
    last = int(placed[known - 1]) if known else -1
    same = (after["mean"][known:] == before["mean"][parents[known:]]).all(1)
    rises = parents[known:] > torch.cat([parents.new_tensor([last]), parents[known:-1]])
    stays = (same & rises[: len(same)]).long().cumprod(0).bool()
    placed[known:][stays] = parents[known:][stays]
    return placed


def _info(step: Step, absolute: bool) -> dict[str, Any]:
    """What gsplat's rasterizer tells of the picture, for one camera."""
    rendered, n = step.rendered, len(step.model.cloud)
    rows = window.rows_of(step)
    signed = rendered.gradient.signed
    assert signed is not None, "called before backward"
    given = {"screen_gradient": signed}
    if absolute and rendered.gradient.absolute is not None:
        given["absgrad"] = rendered.gradient.absolute
    found = {}
    for name, values in given.items():
        whole = values if rows is None else values.new_zeros(n, 2).index_copy(0, rows, values)
        found[name] = whole[None].float()
    radii = rendered.radii
    radii = radii if rows is None else radii.new_zeros(n).index_copy(0, rows, radii)
    height, width = rendered.image.shape[:2]
    screen = torch.zeros_like(found["screen_gradient"], requires_grad=True)
    screen.absgrad = found.get("absgrad")  # type: ignore[attr-defined]
    return {
        "means2d": screen, "gradient_2dgs": screen, "width": width, "height": height,
        "n_cameras": 1, "gaussian_ids": None, "camera_ids": None,
        "radii": radii.ceil().int()[None, :, None].expand(1, n, 2),
        "screen_gradient": found["screen_gradient"],
    }  # fmt: skip


def _called(function: Any, given: Mapping[str, Any]) -> Any:
    """A call with those arguments that a function takes: theirs differ from strategy to
    strategy."""
    taken = inspect.signature(function).parameters
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
    return function(**{n: value for n, value in given.items() if open_ended or n in taken})


def _devices(step: Step) -> list[int]:
    device = step.model.cloud.device
    return [] if device.type == "cpu" else [device.index or 0]
