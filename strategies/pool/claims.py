"""Which newborn rows get a place of the grid, and which are not born."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import SPLIT, Edit
from splat.core.edit_check import brought, check_edit
from splat.core.families import families, without_families, without_held
from splat.strategies.pool.lattice import Lattice

SLOT = "slot"
"""Column: the number of the place that a row has, a whole number."""


@dataclass(frozen=True)
class Claims:
    """Births of an edit as the grid sees them, all on the CPU."""

    places: Float[Tensor, "b 3"]
    """Where the newborn are."""
    parents: Int[Tensor, "b"]
    """Row that each comes from, -1 for none."""
    stays: Bool[Tensor, "b"]
    """Whether it is left after the edit; one that is dropped in it needs no place."""


def slots(cloud: Cloud) -> Int[Tensor, "n"]:
    """The place of each row."""
    return cloud[SLOT].detach().long()


def claimed(
    edit: Edit, cloud: Cloud, lattice: Lattice, reach: float, *, orphans: bool = False
) -> Edit:
    """The edit, with a place for each newborn row, and without families that do not all get one.

    Free places are those of no row that is left; those of rows that are split count as taken. Of
    the children of a split the one nearest to its parent's place inherits it, if that is within
    `reach` cells along every axis. All others claim the free place nearest to them, within reach;
    of several that claim one the nearest gets it, and there is no second choice.

    Differs: with `orphans` those without a place are left out one by one, as in the published
    code; else their whole family is, since a split without one of its children, or without both,
    is a hole.
    """
    check_edit(edit, cloud)
    edit, n = brought(edit, cloud), len(cloud)
    if cloud.held is not None:
        edit = without_held(edit, cloud, cloud.held)
    if not edit.append:
        return edit
    size = n + sum(len(append.parents) for append in edit.append)
    dies, splits = (torch.zeros(size, dtype=torch.bool) for _ in range(2))
    for drop in edit.drop:
        (splits if drop.reason == SPLIT else dies)[drop.rows.cpu()] = True
    claims = Claims(
        torch.cat([append.rows["mean"] for append in edit.append]).detach().double().cpu(),
        torch.cat([append.parents for append in edit.append]).cpu(),
        ~(dies | splits)[n:],
    )
    own = slots(cloud).cpu()
    taken = torch.zeros(len(lattice), dtype=torch.bool)
    taken[own[~dies[:n] | splits[:n]]] = True
    chosen = _inherited(claims, own, splits[:n], lattice, reach)
    _claim_nearest(chosen, claims, taken, lattice, reach)
    lost = (chosen < 0) & claims.stays
    edit = _with_slots(edit, chosen)
    struck = torch.cat([torch.zeros(n, dtype=torch.bool), lost]).to(cloud.device)
    if not orphans:
        number = families(edit, n, cloud.device)
        marked = torch.zeros_like(struck)
        marked[number[struck]] = True
        struck = marked[number]
    return without_families(edit, n, struck)


def _inherited(
    claims: Claims,
    own: Int[Tensor, "n"],
    splits: Bool[Tensor, "n"],
    lattice: Lattice,
    reach: float,
) -> Int[Tensor, "b"]:
    """The parent's place for one child of each split, the nearest within reach; -1 for others."""
    chosen = torch.full_like(claims.parents, -1)
    heirs = claims.stays & (claims.parents >= 0)
    heirs[heirs.clone()] = splits[claims.parents[heirs]]
    index = heirs.nonzero().squeeze(1)
    parents = claims.parents[index]
    offset = claims.places[index] - lattice.places(own[parents])
    far = offset.abs().amax(1) > reach * lattice.cell
    distance = offset.norm(dim=1).masked_fill(far, torch.inf)
    least = torch.full((len(own),), torch.inf, dtype=distance.dtype)
    least = least.scatter_reduce(0, parents, distance, "amin")
    nearest = distance.isfinite() & (distance == least[parents])
    # Of two that are as near the first.
    index, parents = index[nearest], parents[nearest]
    first = torch.full((len(own),), len(chosen)).scatter_reduce(0, parents, index, "amin")
    index = index[first[parents] == index]
    chosen[index] = own[claims.parents[index]]
    return chosen


def _claim_nearest(
    chosen: Int[Tensor, "b"],
    claims: Claims,
    taken: Bool[Tensor, "m"],
    lattice: Lattice,
    reach: float,
) -> None:
    """Give those that have no place the free one nearest to them, nearest first, in place."""
    free = (~taken).nonzero().squeeze(1)
    index = (claims.stays & (chosen < 0)).nonzero().squeeze(1)
    if not len(free) or not len(index):
        return
    places, born = lattice.places(free), claims.places[index]
    _, found = cKDTree(places.numpy()).query(born.numpy())
    wanted = torch.from_numpy(found)
    offset = born - places[wanted]
    near = offset.abs().amax(1) <= reach * lattice.cell
    order = offset.norm(dim=1).argsort(stable=True)
    order = order[near[order]]
    turns = torch.arange(len(order))
    first = torch.full((len(free),), len(order)).scatter_reduce(0, wanted[order], turns, "amin")
    won = order[first[wanted[order]] == turns]
    chosen[index[won]] = free[wanted[won]]


def _with_slots(edit: Edit, chosen: Int[Tensor, "b"]) -> Edit:
    """The edit, its newborn rows with their places; what gets none keeps its parent's."""
    appends, begun = [], 0
    for append in edit.append:
        given = append.rows[SLOT]
        own = chosen[begun : begun + len(append.parents)].to(given.device)
        begun += len(append.parents)
        rows = {**append.rows, SLOT: given.where(own < 0, own.to(given.dtype))}
        appends.append(replace(append, rows=rows))
    return replace(edit, append=tuple(appends))


def without_births_and_deaths(edit: Edit, n: int) -> Edit:
    """The edit, with neither births nor deaths: what it does to rows that stay."""
    if edit.append:
        number = families(edit, n)
        struck = torch.zeros_like(number, dtype=torch.bool)
        struck[number[n:]] = True
        edit = without_families(edit, n, struck[number])
    return replace(edit, drop=())
