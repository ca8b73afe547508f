"""What a strategy proposes (`Edit`) and what came of it (`Change`): plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Bool, Int
from torch import Tensor

Rows = Mapping[str, Tensor]
"""One tensor a column, all with the same number of rows."""
SPLIT = "split"
"""Reason to drop a row whose children, appended in the same edit, take its place: a part of their
birth. Every other drop is a death."""


@dataclass(frozen=True)
class Drop:
    """Remove rows. Survivors keep their order, moments and statistics."""

    rows: Int[Tensor, "d"]
    """Rows to remove, each once."""
    reason: str
    """A word for the log, such as `opacity`, `size` or `split`."""


@dataclass(frozen=True)
class Append:
    """Add rows with zero moments and zero statistics; every column must be named."""

    rows: Rows
    """Values of the new rows, for every column of the cloud."""
    parents: Int[Tensor, "a"]
    """Row (before the edit) each new row comes from, -1 for none."""
    reason: str
    """A word for the log, such as `clone`, `split` or `grow`."""


@dataclass(frozen=True)
class Assign:
    """Replace rows in place (MCMC's relocation): N does not change."""

    index: Int[Tensor, "m"]
    """The rows that are replaced, each once."""
    rows: Rows
    """New values by column; columns that are not named keep theirs."""
    reason: str
    """A word for the log, such as `relocate`."""
    moments: Literal["zero", "keep"] = "zero"
    """What becomes of Adam's moments of these rows."""
    parents: Int[Tensor, "m"] | None = None
    """Row that each new value comes from, for the log."""


@dataclass(frozen=True)
class Overwrite:
    """Set one column for all rows and restart that column's moments (opacity reset)."""

    name: str
    """The column."""
    values: Tensor
    """[n, ...], new values of all rows."""
    reason: str
    """A word for the log, such as `reset`."""


@dataclass(frozen=True)
class Nudge:
    """Add to one column: no birth, no death; moments and statistics stay; not counted."""

    name: str
    """The column."""
    delta: Tensor
    """[n, ...], what is added to the values of all rows."""


@dataclass(frozen=True)
class Zero:
    """Zero a statistic where its window is over, of the rows before the edit; not counted."""

    name: str
    """The statistic."""
    where: Bool[Tensor, "n ..."]
    """Which entries, in the statistic's shape or in that of its first axes."""


@dataclass(frozen=True)
class Edit:
    """Changes for one cloud, applied together in the order zero, nudge, overwrite, assign, append,
    drop.

    Row numbers are those before the edit. Split = append the children + drop the parent;
    clone = append; relocation = assign; opacity reset = overwrite. `drop` may name appended rows
    as N, N + 1, ... so that newborn rows can be pruned in the same edit.
    """

    nudge: tuple[Nudge, ...] = ()
    """Additions to columns."""
    overwrite: tuple[Overwrite, ...] = ()
    """Columns that are set anew."""
    assign: tuple[Assign, ...] = ()
    """Rows that are replaced in place."""
    append: tuple[Append, ...] = ()
    """Rows that are born."""
    drop: tuple[Drop, ...] = ()
    """Rows that go."""
    clear: tuple[str, ...] = ()
    """Statistics to zero for all rows once the rest is done (the end of a window)."""
    zero: tuple[Zero, ...] = ()
    """Entries of statistics that are set to 0."""

    def __add__(self, other: Edit) -> Edit:
        return Edit(
            self.nudge + other.nudge,
            self.overwrite + other.overwrite,
            self.assign + other.assign,
            self.append + other.append,
            self.drop + other.drop,
            self.clear + other.clear,
            self.zero + other.zero,
        )


@dataclass(frozen=True)
class Change:
    """What an edit did. An edit of nothing, or of nudges only, leaves `counts` empty."""

    before: int
    """Rows before."""
    after: int
    """Rows after."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Rows per verb and reason: `{"append:clone": 12, "drop:opacity": 3}`."""
    parents: Int[Tensor, "after"] | None = None
    """Old row each new row was or came from, -1 for none; None: rows are where they were."""
    kept: Int[Tensor, "after"] | None = None
    """Which of the old rows, and of those appended after them (N, N + 1, ...), each new row is;
    None: rows are where they were."""
    edit: Edit | None = field(default=None, compare=False, repr=False)
    """The edit that was applied, its row numbers being those before; None: none."""

    def __bool__(self) -> bool:
        return bool(self.counts)
