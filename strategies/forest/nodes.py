"""What leaves hang on: links, nodes that births ask for, and nodes that nothing hangs on any more.

A link is the number of a row of another cloud, in a column `node`; where a birth wants a node of
its own it is `OWN_MID` or `OWN_ROOT`.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import Append, Drop, Edit, Rows
from splat.system.foreign import Broken

OWN_MID, OWN_ROOT = -1.0, -2.0
"""In place of the number of a mid: that a leaf wants a mid of its own, as its parent's is now, or
that and a root of its own."""


def links(child: Cloud, parent: Cloud, children: str, parents: str) -> Int[Tensor, "n"]:
    """What each row of a cloud hangs on; `Broken` where that is not there."""
    found = child["node"].detach().long()
    low, high = found.aminmax() if len(found) else (found.new_zeros(()), found.new_zeros(()))
    if int(low) < 0 or int(high) >= len(parent):
        raise Broken(
            f"has {children} that hang on {parents} {int(low):,} to {int(high):,}; expected 0 to"
            f" {len(parent) - 1:,}"
        )
    return found


def planted(
    rows: Rows, parents: Int[Tensor, "a"], mid_of: Int[Tensor, "n"], mids: Cloud, roots: Cloud
) -> Rows:
    """Rows of leaves, each of which hangs on a mid that there is: those that some ask for are
    planted, copies of their parents', which are leaves that hang on `mid_of`."""
    if "node" not in rows:
        return rows
    node = rows["node"].clone().to(mids["node"])
    wants = (node < 0).nonzero().squeeze(1)
    from_none = (parents[wants.to(parents.device)] < 0).any() if len(wants) else False
    if bool(from_none) or bool((node >= len(mids)).any()) or bool((node < OWN_ROOT).any()):
        raise ValueError(
            f"new leaves hang on mids that are not there; expected 0 to {len(mids) - 1:,},"
            f" or, of leaves with a parent, {OWN_MID:g} or {OWN_ROOT:g} for one of their own"
        )
    if not len(wants):
        return rows
    old = mid_of.index_select(0, parents.to(node.device)[wants])
    fresh = mids.rows(old)
    rooted = (node[wants] <= OWN_ROOT).nonzero().squeeze(1)
    if len(rooted):
        above, first = fresh["node"][rooted].long(), len(roots)
        roots.apply(Edit(append=(Append(roots.rows(above), above, "root"),)))
        fresh["node"][rooted] = _numbers(first, len(rooted), fresh["node"])
    first = len(mids)
    mids.apply(Edit(append=(Append(fresh, old, "mid"),)))
    node[wants] = _numbers(first, len(wants), node)
    return {**rows, "node": node}


def clear(leaves: Cloud, mids: Cloud, roots: Cloud) -> None:
    """Take away mids without leaves, then roots without mids; links close up.

    Links are written, not proposed: that a node is another row of its cloud than it was changes
    nothing of what hangs on it, frozen or not.
    """
    for child, parent in ((leaves, mids), (mids, roots)):
        link = child["node"].detach().long()
        used = torch.zeros(len(parent), dtype=torch.bool, device=link.device)
        used[link] = True
        if bool(used.all()):
            continue
        parent.apply(Edit(drop=(Drop((~used).nonzero().squeeze(1), "childless"),)))
        child["node"].copy_((used.cumsum(0) - 1)[link])


def _numbers(first: int, count: int, like: Tensor) -> Tensor:
    return torch.arange(first, first + count, device=like.device).to(like.dtype)
