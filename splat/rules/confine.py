"""Edits without the births that would lie outside of a region."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.edit import Edit
from splat.core.edit_check import brought, check_edit
from splat.core.families import families, limited_births, without_families
from splat.core.model import Model
from splat.core.step import Step


def confined(
    step: Step,
    edit: Edit | None,
    holds: Callable[[Float[Tensor, "m 3"]], Bool[Tensor, "m"]],
    cap: int,
) -> Edit | None:
    """An edit without the families of which a row would be put where `holds` says no.

    Positions are in the frame of training; of what is left at most `cap` rows come to be.
    """
    if edit is None or not (edit.append or edit.assign):
        return edit
    cloud = step.model.cloud
    check_edit(edit, cloud)
    edit = brought(edit, cloud)
    strays = _strays(step.model, edit, holds)
    if not bool(strays.any()):
        return edit
    number = families(edit, len(cloud), cloud.device)
    marked = torch.zeros_like(strays)
    marked[number[strays]] = True
    return limited_births(without_families(edit, len(cloud), marked[number]), cloud, cap)


def _strays(
    model: Model, edit: Edit, holds: Callable[[Float[Tensor, "m 3"]], Bool[Tensor, "m"]]
) -> Bool[Tensor, "m"]:
    """Which old and appended rows the edit would put outside."""
    place, n = model.place, len(model.cloud)
    strays = torch.zeros(n, dtype=torch.bool, device=model.cloud.device)
    for assign in edit.assign:
        if place in assign.rows:
            strays[assign.index] = ~holds(assign.rows[place])
    return torch.cat([strays, *(~holds(append.rows[place]) for append in edit.append)])
