"""A box inside which a scene grows; what is outside only explains the background of photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.edit import Edit
from splat.core.edit_check import check
from splat.core.families import families, within, without
from splat.core.model import Model
from splat.core.region import EVERYWHERE, Box, Corner, meeting
from splat.core.strategy import Wrapper
from splat.types import Step


@dataclass(frozen=True)
class Crop(Wrapper):
    """Births inside a box only; what is outside still trains and is still pruned.

    A birth, or a move of a dead row, that would put a row outside does not happen, with all that
    belongs to it; so the rows that the method may have go where they are wanted. Files that are
    exported hold what is inside.
    """

    low: Corner = EVERYWHERE[0]
    """Lowest corner of the box, in the coordinates of the scene (those of `splat info FILE`)."""
    high: Corner = EVERYWHERE[1]
    """Highest corner of the box."""

    def __post_init__(self) -> None:
        Box(self.low, self.high)

    def begin(self, model: Model) -> None:
        super().begin(model)
        model.crop = meeting(model.crop, Box(self.low, self.high))
        place = model.cloud[model.place]
        if len(place) and not bool(model.crop.holds(place, model.frame).any()):
            raise ValueError(
                f"the crop box from {model.crop.said()} holds none of the {len(place):,}"
                f" {model.unit} that the run starts from; expected a box in the coordinates of the"
                " scene: `splat info` on a file of points or Gaussians says how far they reach"
            )

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        box, frame = Box(self.low, self.high), step.model.frame
        return confined(step, edit, lambda positions: box.holds(positions, frame), self.cap)


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
    check(edit, cloud)
    strays = _strays(step.model, edit, holds)
    if not bool(strays.any()):
        return edit
    number = families(edit, len(cloud))
    marked = torch.zeros_like(strays)
    marked[number[strays]] = True
    return within(without(edit, len(cloud), marked[number]), cloud, cap)


def _strays(
    model: Model, edit: Edit, holds: Callable[[Float[Tensor, "m 3"]], Bool[Tensor, "m"]]
) -> Bool[Tensor, "m"]:
    """Old and appended rows that the edit would put outside."""
    place, n = model.place, len(model.cloud)
    found = torch.zeros(n, dtype=torch.bool, device=model.cloud.device)
    for assign in edit.assign:
        if place in assign.rows:
            found[assign.index] = ~holds(assign.rows[place])
    return torch.cat([found, *(~holds(append.rows[place]) for append in edit.append)])
