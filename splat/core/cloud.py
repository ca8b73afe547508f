"""`Cloud`: the one owner of rows, Adam moments and per-row statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from splat import kernels
from splat.core.column import Column, Rate, Scaling
from splat.core.edit import Change, Edit, Rows
from splat.core.edit_check import brought, check_edit
from splat.core.families import without_held
from splat.core.offloaded_column import Kept
from splat.core.shard import WHOLE, Shard
from splat.kernels import Harmonics, HarmonicsGradient
from splat.system.foreign import Broken, Record, shown

Combine = Literal["sum", "max", "min", "same"]
"""How a statistic is reduced over processes that each observe a photo of their own."""


_OF_A_COLUMN = ("values", "first", "second")


class Cloud:
    """Named columns with one row each for N things, their Adam moments, and statistics.

    Only `apply` changes the number of rows, only `apply` and `reorder` their place; only `optimize`
    runs Adam. Strategies propose (`Edit`) and never touch this state themselves. Every column,
    moment and statistic has N rows at all times. Frozen rows (`hold`) keep their values to the
    bit, whatever is proposed and whatever gradient they have.
    """

    began: int = 0
    """Number of rows before the first edit of the run."""
    rate_scale: float = 1.0
    """Factor on the learning rates of all columns; 1: as planned. No part of the saved state."""
    scaling: Scaling = Scaling()
    """Photos that a step shows, all processes together, and what follows for Adam; not saved."""
    shard: Shard = WHOLE
    """Which share of the run's rows these are, and what they are asked of the others."""

    def __init__(
        self,
        moments: torch.dtype = torch.float32,
        keep: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """An empty cloud; `moments` is the type of Adam's moments, float32 or bfloat16.

        bfloat16 halves what they take (a third of a Gaussian's memory); they are rounded at random.
        With `keep` moments and harmonics are where it copies them to (`splat.core.offload`).
        """
        self._moments = moments
        self._keep = keep
        self._columns: dict[str, Column] = {}
        self._statistics: dict[str, Tensor] = {}
        self._combine: dict[str, Combine] = {}
        self._holding: list[str] = []

    def add(self, name: str, values: Tensor, rate: Rate, *, harmonics: bool = False) -> None:
        """Add a column [N, ...]; the first one decides N.

        The gradient of one of `harmonics` may come as factors (`splat.kernels.Harmonics`): its
        `grad` is then None, and `gradient` writes it out. Values of type bfloat16 stay that: steps
        round them at random, edits to the nearest.
        """
        if name in self._columns:
            raise ValueError(f"column {name!r} exists already; choose another name")
        self.began = self.began if self._columns else len(values)
        if self._columns and len(values) != len(self):
            raise ValueError(f"column {name!r} has {len(values)} rows, the cloud has {len(self)}")
        values = values.detach().contiguous()
        whole = torch.float32 if values.dtype == torch.bfloat16 else values.dtype
        moments = whole if self._moments == torch.float32 else self._moments
        first, second = (torch.zeros_like(values, dtype=moments) for _ in range(2))
        kind = Harmonics if harmonics else torch.nn.Parameter
        column = Column(kind(values), first, second, rate)
        self._columns[name] = column if self._keep is None else Kept(column, self._keep)

    def __len__(self) -> int:
        """Rows; a cloud without columns has none."""
        return len(next(iter(self._columns.values())).values) if self._columns else 0

    def __getitem__(self, name: str) -> Tensor:
        """The column's parameter, [N, ...]; raises KeyError naming what there is."""
        try:
            return self._columns[name].values
        except KeyError:
            raise KeyError(f"no column {name!r}; the cloud has {sorted(self._columns)}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    @property
    def kept_away(self) -> bool:
        """Whether moments and harmonics are kept away from the device that trains."""
        return self._keep is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Columns in the order they were added."""
        return tuple(self._columns)

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the tracked statistics."""
        return tuple(self._statistics)

    @property
    def device(self) -> torch.device:
        """The device that trains."""
        return next(iter(self._columns.values())).values.device

    def rows(self, index: Tensor) -> dict[str, Tensor]:
        """A copy of some rows of every column, detached, none of them bfloat16."""
        return {name: column.rows(index) for name, column in self._columns.items()}

    def gradient(self, name: str) -> Tensor | None:
        """The gradient of a column since the last step, [N, ...]; None where there is none."""
        gradient = self._columns[name].gradient()
        if isinstance(gradient, HarmonicsGradient):
            return gradient.dense(self[name].shape[1])
        return gradient

    def moments(self, name: str) -> tuple[Tensor, Tensor]:
        """Adam's two moments of a column, each [N, ...]; to be read, not written."""
        return self._columns[name].first, self._columns[name].second

    def rate(self, name: str, step: int) -> float:
        """Learning rate of a column at a step, `rate_scale` and `scaling` included."""
        return self.rate_scale * self.scaling.rate * self._columns[name].rate(step)

    def parameters(self) -> Iterator[Tensor]:
        """The columns' parameters; `gradient` gives the gradient of each."""
        for column in self._columns.values():
            yield column.values

    def track(
        self,
        name: str,
        *shape: int,
        dtype: torch.dtype = torch.float32,
        combine: Combine = "sum",
    ) -> None:
        """Declare a statistic [N, *shape], zero at first; one owner a name.

        Where several processes observe a photo each at a step, `combine` says how their
        statistics are reduced: "sum", to which `observe` only adds; "max" and "min", element by
        element, by which it only grows or falls; "same", which all processes compute alike.
        """
        if name in self._statistics:
            raise ValueError(
                f"statistic {name!r} has an owner already, and two would both count it; leave one"
                " of the two strategies out, or choose another name"
            )
        self._statistics[name] = torch.zeros(len(self), *shape, dtype=dtype, device=self.device)
        self._combine[name] = combine

    def combines(self, name: str) -> Combine:
        """How a statistic is reduced over processes, as it was declared."""
        return self._combine.get(name, "same")

    def statistic(self, name: str) -> Tensor:
        """The tensor of a statistic, to be accumulated into in place."""
        try:
            return self._statistics[name]
        except KeyError:
            raise KeyError(
                f"no statistic {name!r}; tracked are {sorted(self._statistics)}"
            ) from None

    def hold(self, name: str, rows: Bool[Tensor, "n"]) -> None:
        """Freeze rows under a name: no step and no edit moves, changes or drops them."""
        self.track(name, dtype=torch.bool, combine="same")
        self._statistics[name].copy_(rows)
        self._holding.append(name)

    @property
    def held(self) -> Bool[Tensor, "n"] | None:
        """Rows that are frozen under any name; None where none ever are."""
        masks = [self._statistics[name] for name in self._holding]
        return torch.stack(masks).any(0) if masks else None

    @torch.no_grad()
    def optimize(self, step: int, visible: Bool[Tensor, "n"] | None = None) -> None:
        """One Adam step (Kingma & Ba 2015, bias-corrected) of every column that has a gradient.

        With `visible`, rows where it is False stay as they are, moments included (as the sparse
        Adam of Taming 3DGS, Mallick et al. 2024): the cost of a step is then that of what is seen.
        On the CPU the step of harmonics may go on when this returns; whoever asks the cloud for
        them or for their moments waits for it.
        """
        held = self.held
        if held is not None:
            visible = ~held if visible is None else visible & ~held
        # Harmonics first: their step goes on aside while those of the others are made.
        for column in sorted(self._columns.values(), key=lambda column: not column.is_harmonics):
            column.optimize(step, visible, self.rate_scale, self.scaling)

    @torch.no_grad()
    def apply(self, edit: Edit | None) -> Change:
        """Carry out an edit; one that does not fit raises ValueError and changes nothing."""
        before = len(self)
        if edit is None:
            return Change(before, before)
        check_edit(edit, self)
        edit, held = brought(edit, self), self.held
        if held is not None:
            edit = without_held(edit, self, held)
        counts: dict[str, int] = {}

        def count(verb: str, reason: str, rows: int) -> None:
            if rows:
                counts[f"{verb}:{reason}"] = counts.get(f"{verb}:{reason}", 0) + rows

        for zero in edit.zero:
            self._statistics[zero.name][zero.where] = 0
        for nudge in edit.nudge:
            kernels.add(self._columns[nudge.name].values, nudge.delta)
        for overwrite in edit.overwrite:
            column = self._columns[overwrite.name]
            column.values.copy_(overwrite.values)
            column.first.zero_()
            column.second.zero_()
            count("overwrite", overwrite.reason, before)
        for assign in edit.assign:
            self._assign(assign.index, assign.rows, assign.moments == "zero")
            count("assign", assign.reason, len(assign.index))
        for append in edit.append:
            count("append", append.reason, len(append.parents))
        gone = self._gone(edit, count)
        parents, kept = self._resize(edit, gone)
        for name in edit.clear:
            self._statistics[name].zero_()
        return Change(before, len(self), counts, parents, kept, edit)

    def reorder(self, order: Int[Tensor, "n"]) -> Change:
        """Permute the rows (memory locality); nothing else changes."""
        self._gather(order)
        return Change(len(self), len(self), {}, order, order)

    def exchange(
        self,
        moved: Callable[[Tensor], Tensor],
        remembered: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Put what `moved` makes of them in place of all columns, moments and statistics, one
        after the other: other rows, as many of each. `remembered` makes moments and statistics."""
        kernels.forget_outputs()
        remembered = remembered or moved
        for column in self._columns.values():
            column.replace(moved(column.values.detach()))
            column.remember(remembered(column.first), remembered(column.second))
        self._statistics = {name: remembered(t) for name, t in self._statistics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers only: columns, moments, Adam counts, statistics."""
        return {
            "columns": {
                name: {
                    "values": column.values.detach(),
                    "first": column.first,
                    "second": column.second,
                    "count": column.count,
                }
                for name, column in self._columns.items()
            },
            "statistics": dict(self._statistics),
            "began": self.began,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the rows of a saved cloud with the same columns; rates stay those given here."""
        check_saved(state)
        if set(state["columns"]) != set(self._columns):
            raise Broken(
                f"the checkpoint has columns {sorted(state['columns'])}, this model has"
                f" {sorted(self._columns)}: resume with the method it was trained with"
            )
        device = self.device
        for name, saved in state["columns"].items():
            column = self._columns[name]
            if saved["values"].shape[1:] != column.values.shape[1:]:
                shapes = [[*values.shape] for values in (saved["values"], column.values)]
                raise Broken(f"has column {name} of shape {shapes[0]}; expected {shapes[1]}")
            column.replace(saved["values"].to(column.values.device).clone())
            place, kind = column.first.device, column.first.dtype
            column.remember(
                saved["first"].to(place, kind, copy=True),
                saved["second"].to(place, kind, copy=True),
            )
            column.count = int(saved["count"])
        # A statistic that the saved run did not keep begins now.
        n = len(self)
        self._statistics = {
            name: kept.new_zeros(n, *kept.shape[1:]) for name, kept in self._statistics.items()
        }
        self._statistics |= {n: t.to(device).clone() for n, t in state["statistics"].items()}
        self.began = int(state.get("began", n))

    def regroup(self, was: int, now: int) -> None:
        """Take over moments of steps that showed `was` photos each, to go on with `now`.

        Adam's count follows the photos. Its second moment is mostly noise, of which the mean of
        fewer photos has the more (the assumption of the square root rule, `Scaling`).
        """
        for column in self._columns.values():
            column.count = -(-column.count * was // now)
            column.second.mul_(was / now)

    def _assign(self, index: Tensor, rows: Rows, restart: bool) -> None:
        for name, values in rows.items():
            whole = self._columns[name].values
            whole[index.to(whole.device)] = values.to(whole)
        if restart:
            for column in self._columns.values():
                for moment in (column.first, column.second):
                    moment[index.to(moment.device)] = 0
        for statistic in self._statistics.values():
            statistic[index] = 0

    def _gone(self, edit: Edit, count: Any) -> Tensor | None:
        """Which of the old and appended rows are dropped; a row counts for its first reason."""
        if not edit.drop:
            return None
        size = len(self) + sum(len(append.parents) for append in edit.append)
        gone = torch.zeros(size, dtype=torch.bool, device=self.device)
        for drop in edit.drop:
            fresh = drop.rows[~gone[drop.rows]]
            gone[fresh] = True
            count("drop", drop.reason, len(torch.unique(fresh)))
        return gone

    def _resize(self, edit: Edit, gone: Tensor | None) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Append, then drop, one column at a time so that the peak is one column's copy.

        Gives `Change.parents` and `Change.kept`.
        """
        born = [append for append in edit.append if len(append.parents)]
        if gone is not None and not gone.any():
            gone = None
        if not born and gone is None:
            return None, None
        kernels.forget_outputs()  # they are of as many rows as there were
        keep = None if gone is None else (~gone).nonzero().squeeze(1)
        old = torch.arange(len(self), device=self.device)
        fresh = sum(len(append.parents) for append in born)

        def moved(values: Tensor, added: list[Tensor]) -> Tensor:
            added = [each.to(values) for each in added]
            whole = torch.cat([values, *added]) if added else values
            return whole if keep is None else whole.index_select(0, keep.to(whole.device))

        def padded(values: Tensor) -> Tensor:
            zeros = values.new_zeros(fresh, *values.shape[1:])
            return moved(values, [zeros] if fresh else [])

        for name, column in self._columns.items():
            values = moved(column.values.detach(), [append.rows[name] for append in born])
            column.replace(values.contiguous())
            column.remember(padded(column.first), padded(column.second))
        self._statistics = {name: padded(values) for name, values in self._statistics.items()}
        parents = moved(old, [append.parents for append in born])
        return parents, torch.arange(len(old) + fresh, device=self.device) if keep is None else keep

    def _gather(self, order: Tensor) -> None:
        for column in self._columns.values():

            def ordered(values: Tensor) -> Tensor:
                return values.index_select(0, order.to(values.device))

            column.replace(ordered(column.values.detach()))
            column.remember(ordered(column.first), ordered(column.second))
        self._statistics = {n: t.index_select(0, order) for n, t in self._statistics.items()}


def check_saved(state: Mapping[str, Any]) -> None:
    """Raise `Broken` where a saved cloud has other than a row of everything for each row."""
    columns, statistics = Record(state).record("columns"), Record(state).record("statistics")
    tensors = dict(statistics)
    for name in columns:
        column = columns.record(name)
        column.whole("count")
        tensors |= {(name, part): column[part] for part in _OF_A_COLUMN}
    rows = {len(t) if isinstance(t, Tensor) and t.ndim else None for t in tensors.values()}
    if len(rows) != 1 or None in rows:
        raise Broken("has columns and statistics of other numbers of rows; expected one")
    for name in columns:
        values, *moments = (columns.record(name)[part] for part in _OF_A_COLUMN)
        alike = all(each.shape == values.shape for each in moments)
        if not alike or not all(each.is_floating_point() for each in (values, *moments)):
            raise Broken(f"has a column {shown(name)} whose moments are others; expected its own")
    if len({columns.record(name)["values"].dtype for name in columns} - {torch.bfloat16}) > 1:
        raise Broken("has columns of other types of numbers; expected float32")
