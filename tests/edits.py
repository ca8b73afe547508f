"""Random edits, with births in families of several shapes, for tests of what is done to edits."""

from __future__ import annotations

import torch
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import SPLIT, Append, Assign, Drop, Edit, Nudge, Overwrite


def random_edit(cloud: Cloud, draw: torch.Generator, *, deaths: float = 0.1) -> Edit:
    """Clones, splits, shares with recycled and with appended copies, orphans, deaths of old and
    newborn rows, a nudge and an overwrite."""
    n = len(cloud)
    order = torch.randperm(n, generator=draw)
    kinds = order.split([n // 8] * 5 + [n - 5 * (n // 8)])
    clones, splits, hosts, dead, growers = kinds[:5]
    nobody = torch.full((3,), -1)
    moved = Assign(dead, altered(cloud, dead, draw), "relocate", "keep", hosts)
    born = {
        "clone": clones,
        SPLIT: splits.repeat(2),
        "grow": torch.cat([growers, growers[:2], dead[:2]]),
        "orphan": nobody,
    }
    appends = [
        Append(altered(cloud, parents.clamp_min(0), draw), parents, reason)
        for reason, parents in born.items()
    ]
    size = n + sum(len(append.parents) for append in appends)
    dying = (torch.rand(size, generator=draw) < deaths).nonzero().squeeze(1)
    half = len(dying) // 2
    return Edit(
        nudge=(Nudge("mean", torch.randn(n, 3, generator=draw)),),
        overwrite=(Overwrite("opacity_logit", torch.randn(n, generator=draw), "reset"),),
        assign=(shared(cloud, hosts), moved, shared(cloud, growers)),
        append=tuple(appends),
        drop=(Drop(splits, SPLIT), Drop(dying[:half], "opacity"), Drop(dying[half:], "size")),
    )


def shared(cloud: Cloud, rows: Tensor) -> Assign:
    """What hosts give up for their copies."""
    return Assign(rows, {"opacity_logit": cloud["opacity_logit"].detach()[rows] - 1}, "share")


def altered(cloud: Cloud, rows: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
    """All columns of some rows, somewhat other."""
    return {
        name: values + torch.randn(values.shape, generator=draw)
        for name, values in cloud.rows(rows).items()
    }
