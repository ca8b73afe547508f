"""Births that belong together (families), so that an edit stays whole when some are struck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.core.edit import SPLIT, Append, Drop, Edit, Rows
from splat.core.edit_check import brought, check_edit

if TYPE_CHECKING:
    from splat.core.cloud import Cloud


def families(edit: Edit, n: int, device: torch.device | None = None) -> Int[Tensor, "m"]:
    """A number for each of `n` rows and of the appended ones after them, equal within a family.

    An appended row belongs to its parent, and so does an assigned row that names one: the copies
    of a row to what it gave up for them, the children of a split to the row that they replace.
    They are on `device`, which is asked for where an edit may name no rows; None: the rows' own.
    """
    device, size = device or _device(edit), n + _fresh(edit)
    ends = [torch.zeros(2, 0, dtype=torch.int64, device=device)]
    born = n
    for append in edit.append:
        new = torch.arange(born, born + len(append.parents), device=device)
        ends.append(torch.stack([new, append.parents.where(append.parents >= 0, new)]))
        born += len(append.parents)
    for assign in edit.assign:
        if assign.parents is not None:
            other = assign.parents.where(assign.parents >= 0, assign.index)
            ends.append(torch.stack([assign.index, other]))
    one, other = torch.cat(ends, 1)
    number = torch.arange(size, device=device)
    while True:
        low = torch.minimum(number[one], number[other])
        lowest = number.scatter_reduce(0, one, low, "amin").scatter_reduce(0, other, low, "amin")
        lowest = lowest[lowest]
        if torch.equal(lowest, number):
            return number
        number = lowest


def without_families(edit: Edit, n: int, struck: Bool[Tensor, "m"]) -> Edit:
    """The edit without the births of these rows, old and appended ones; give whole families.

    What goes: assigns of them, appended ones of them, and drops for a split. Other drops are
    deaths and stay.
    """
    if not struck.any():
        return edit
    assigns = []
    for assign in edit.assign:
        keep = ~struck[assign.index]
        parents = None if assign.parents is None else assign.parents[keep]
        rows = _taken(assign.rows, keep)
        assigns.append(replace(assign, index=assign.index[keep], rows=rows, parents=parents))
    appends, born = [], n
    for append in edit.append:
        keep = ~struck[born : born + len(append.parents)]
        born += len(append.parents)
        rows = _taken(append.rows, keep)
        appends.append(Append(rows, append.parents[keep], append.reason))
    gone = struck.clone()
    gone[:n] = False
    moved = torch.arange(len(struck), device=struck.device) - gone.cumsum(0)
    drops = []
    for drop in edit.drop:
        keep = ~(struck if drop.reason == SPLIT else gone)[drop.rows]
        drops.append(Drop(moved[drop.rows[keep]], drop.reason))
    return replace(
        edit,
        assign=tuple(assign for assign in assigns if len(assign.index)),
        append=tuple(append for append in appends if len(append.parents)),
        drop=tuple(drop for drop in drops if len(drop.rows)),
    )


def _taken(rows: Rows, keep: Bool[Tensor, "m"]) -> Rows:
    """Some of rows, of which those of offloaded columns lie in host memory."""
    return {name: values[keep.to(values.device)] for name, values in rows.items()}


def without_held(edit: Edit, cloud: Cloud, held: Bool[Tensor, "n"]) -> Edit:
    """The edit without all that would touch frozen rows, which stay as they are to the bit."""
    n = len(cloud)
    if edit.assign or edit.append or edit.drop:
        edit = without_families(edit, n, _with_kin(families(edit, n, held.device), held))
    apart = torch.cat([held, held.new_zeros(_fresh(edit))])
    nudges = []
    for nudge in edit.nudge:
        # x + -0 is x for every x, and -0 + 0 is not -0.
        nudges.append(replace(nudge, delta=nudge.delta.masked_fill(_as(held, nudge.delta), -0.0)))
    overwrites = []
    for overwrite in edit.overwrite:
        old = cloud[overwrite.name].detach()
        values = old.where(_as(held, old), overwrite.values)
        overwrites.append(replace(overwrite, values=values))
    drops = [replace(drop, rows=drop.rows[~apart[drop.rows]]) for drop in edit.drop]
    return replace(
        edit,
        nudge=tuple(nudges),
        overwrite=tuple(overwrites),
        drop=tuple(drop for drop in drops if len(drop.rows)),
    )


def limited_births(edit: Edit | None, cloud: Cloud, most: int) -> Edit | None:
    """The edit, with births struck until no more than `most` rows are left after it.

    Whole families go, those of the faintest parents first (of equally faint ones the first; where
    rows have no opacity, the first of all). What dies is not touched, nor is any row killed: more
    rows than `most` stay as they are, and none is born.
    """
    if edit is None or not most or not edit.append:
        return edit
    check_edit(edit, cloud)
    edit, n = brought(edit, cloud), len(cloud)
    if cloud.held is not None:
        edit = without_held(edit, cloud, cloud.held)
    size = n + _fresh(edit)
    dies, splits = _dropped(edit, size, cloud.device)
    excess = size - int((dies | splits).sum()) - most
    if excess <= 0:
        return edit
    number = families(edit, n, cloud.device)
    gain = torch.zeros(size, dtype=torch.int64, device=number.device)
    gain.index_add_(0, number[n:], (~dies[n:]).long())
    gain.index_add_(0, number, -(splits & ~dies).long())
    growing = (gain > 0).nonzero().squeeze(1)
    order = growing[_rank(edit, cloud, number)[growing].argsort(stable=True)]
    count = int((gain[order].cumsum(0) < excess).sum()) + 1
    struck = torch.zeros(size, dtype=torch.bool, device=number.device)
    struck[order[:count]] = True
    return without_families(edit, n, struck[number])


def merged_edits(edits: Sequence[Edit | None], cloud: Cloud) -> Edit | None:
    """Edits that were proposed for the same rows, as one.

    A row that one of them kills has no children and gives nothing away: its families in the
    others are struck. Of two families with a row in common that of the earlier edit stays. If no
    row were left, only the first of them kills.
    """
    proposed = [edit for edit in edits if edit is not None and edit != Edit()]
    if len(proposed) < 2:
        return proposed[0] if proposed else None
    for edit in proposed:
        check_edit(edit, cloud)
    proposed = [brought(edit, cloud) for edit in proposed]
    n, device = len(cloud), cloud.device
    deaths = [_dropped(edit, n + _fresh(edit), device)[0][:n] for edit in proposed]
    taken = torch.zeros(n, dtype=torch.bool, device=device)
    kept = []
    for i, edit in enumerate(proposed):
        killed = torch.stack([taken, *(dead for j, dead in enumerate(deaths) if j != i)]).any(0)
        involved = _involved(edit, n, device)
        kin = _with_kin(families(edit, n, device), killed & involved)
        edit = without_families(edit, n, kin)
        taken = taken | _involved(edit, n, device)
        kept.append(edit)
    joined = _joined(kept, n)
    size = n + _fresh(joined)
    dies, splits = _dropped(joined, size, device)
    if bool((dies | splits).all()):
        spare = [replace(e, drop=tuple(d for d in e.drop if d.reason == SPLIT)) for e in kept[1:]]
        joined = _joined([kept[0], *spare], n)
    return joined


def _joined(edits: Sequence[Edit], n: int) -> Edit:
    """Sum of the edits; row numbers of appended rows in drops are shifted accordingly."""
    whole = Edit()
    for edit in edits:
        before = _fresh(whole)
        drops = tuple(
            Drop(drop.rows.where(drop.rows < n, drop.rows + before), drop.reason)
            for drop in edit.drop
        )
        whole = whole + replace(edit, drop=drops)
    return whole


def _dropped(
    edit: Edit, size: int, device: torch.device
) -> tuple[Bool[Tensor, "m"], Bool[Tensor, "m"]]:
    """Which rows die, and which are replaced by the children of a split."""
    dies = torch.zeros(size, dtype=torch.bool, device=device)
    splits = dies.clone()
    for drop in edit.drop:
        (splits if drop.reason == SPLIT else dies)[drop.rows] = True
    return dies, splits


def _involved(edit: Edit, n: int, device: torch.device) -> Bool[Tensor, "n"]:
    """Old rows that are a parent, or are changed by an assign or a split."""
    involved = torch.zeros(n, dtype=torch.bool, device=device)
    for rows in _changed(edit):
        involved[rows[(rows >= 0) & (rows < n)]] = True
    return involved


def _changed(edit: Edit) -> Iterator[Tensor]:
    for assign in edit.assign:
        yield assign.index
        if assign.parents is not None:
            yield assign.parents
    for append in edit.append:
        yield append.parents
    for drop in edit.drop:
        if drop.reason == SPLIT:
            yield drop.rows


def _with_kin(number: Int[Tensor, "m"], rows: Bool[Tensor, "n"]) -> Bool[Tensor, "m"]:
    """The rows of all families that have one of these rows in them."""
    marked = torch.zeros_like(number, dtype=torch.bool)
    marked[number[: len(rows)][rows]] = True
    return marked[number]


def _rank(edit: Edit, cloud: Cloud, number: Int[Tensor, "m"]) -> Float[Tensor, "m"]:
    """At the number of each family, the largest opacity (logit) of its parents before the edit."""
    rank = torch.full(number.shape, -torch.inf, device=number.device)
    if "opacity_logit" not in cloud:
        return rank
    logit = cloud["opacity_logit"].detach().float()
    born = len(cloud)
    for append in edit.append:
        rows, parents = append.rows["opacity_logit"].float(), append.parents
        opacity = rows.where(parents < 0, logit[parents.clamp_min(0)])
        rank.scatter_reduce_(0, number[born : born + len(parents)], opacity, "amax")
        born += len(parents)
    return rank


def _fresh(edit: Edit) -> int:
    return sum(len(append.parents) for append in edit.append)


def _device(edit: Edit) -> torch.device:
    rows = [a.index for a in edit.assign] + [a.parents for a in edit.append]
    rows += [drop.rows for drop in edit.drop]
    return rows[0].device if rows else torch.device("cpu")


def _as(rows: Bool[Tensor, "n"], like: Tensor) -> Tensor:
    return rows.reshape(-1, *[1] * (like.ndim - 1))
