"""Anchors that grow at a surface and go where there is none, by a signed distance (GSDF)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.edit import Edit
from splat.core.model import Model
from splat.core.step import Step
from splat.core.strategy import Strategy, Wrapper, recipe_name_of
from splat.strategies.scaffold.guide import Guided
from splat.system.import_path import module_of, where_and_name
from splat.system.ranges import above, at_least

Distance = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]
MOST = 1 << 18
"""Points that a signed distance is asked for at once."""


@dataclass(frozen=True)
class Gsdf(Wrapper):
    """Let a signed distance of the scene steer where anchors grow and go (Yu et al., NeurIPS 2024).

    Near its surface a smaller gradient is enough for an anchor to be born; large anchors that are
    away from it must be the more opaque to stay. What is near is said by exp(-distance^2 / band).
    The distance is given and stays as it is: learning it beside the scene is left out.
    """

    known_as = "gsdf"
    sdf: str = ""
    """The signed distance: module:function, or path/to/file.py:function. The function is given
    points [n, 3] in the coordinates of the scene (those of `splat info FILE`), and returns n
    distances in its units; NaN where it knows none, and there nothing changes."""
    weight: Annotated[float, at_least(0)] = 2e-4
    """What is added at the surface to the mean screen gradient of an offset."""
    band: Annotated[float, above(0)] = 0.01
    """Squared distance at which nearness has fallen to 1/e, scene extents squared."""
    prune_size: Annotated[float, at_least(0)] = 0.1
    """Largest size, scene extents, from which an anchor away from the surface may be dropped; 0:
    all of them, as the paper has it."""

    def begin(self, model: Model) -> None:
        _guided(self.base)
        _distance(self.sdf)
        super().begin(model)

    def refine(self, step: Step) -> Edit | None:
        return self.altered(step, _guided(self.base).guided(step, self))

    def wanted(self, step: Step, points: Float[Tensor, "m 3"]) -> Float[Tensor, "m"]:
        """`weight` times how near offsets are to the surface."""
        return self.weight * self.nearness(step.model, points).nan_to_num(0.0)

    def unwanted(
        self,
        step: Step,
        opacity: Float[Tensor, "n"],
        visits: Float[Tensor, "n"],
        least: float,
    ) -> Bool[Tensor, "n"]:
        """Large anchors whose opacity is less than they lack in nearness."""
        cloud = step.model.cloud
        largest = cloud["reach"].detach().amax(1).exp()
        rows = (largest > self.prune_size * step.extent).nonzero().squeeze(1)
        near = self.nearness(step.model, cloud["anchor"].detach().index_select(0, rows))
        seen = visits.index_select(0, rows)
        # A comparison with NaN is false: what is not known spares an anchor.
        gone = opacity.index_select(0, rows) - seen * (1 - near) < least * seen
        return torch.zeros_like(visits, dtype=torch.bool).index_fill_(0, rows[gone], True)

    @torch.no_grad()
    def nearness(self, model: Model, points: Float[Tensor, "m 3"]) -> Float[Tensor, "m"]:
        """1 on the surface, less away from it, NaN where it is not known; points of training."""
        if not len(points):
            return points.new_zeros(0)
        distance, frame = _distance(self.sdf), model.frame
        centre = points.new_tensor(frame.centre, dtype=torch.float64)
        given = (points.double() / frame.scale + centre).to(points.dtype)
        found = [self._asked(distance, part) for part in given.split(MOST)]
        return (-(torch.cat(found) * frame.scale).square() / self.band).exp()

    def _asked(self, distance: Distance, points: Float[Tensor, "m 3"]) -> Float[Tensor, "m"]:
        found = torch.as_tensor(distance(points)).to(points)
        if found.shape != points.shape[:1]:
            raise ValueError(
                f"sdf {self.sdf!r} gave {tuple(found.shape)} for points of {tuple(points.shape)};"
                f" expected one distance each, ({len(points)},)"
            )
        return found


def _guided(base: Strategy) -> Guided:
    if isinstance(base, Guided):
        return base
    raise ValueError(
        f"gsdf steers how anchors grow and go, and {recipe_name_of(type(base))}, which it stands"
        " after, takes no such word; put it right after scaffold: scaffold + gsdf --sdf"
        " file.py:function"
    )


def _distance(place: str) -> Distance:
    if not place:
        raise ValueError(
            "gsdf has no signed distance to go by; say where its function is: --sdf"
            " module:function or path/to/file.py:function"
        )
    where, name = where_and_name(place, "sdf", "function")
    found: Distance | None = getattr(module_of(where, "sdf"), name, None)
    if not callable(found):
        what = "holds no" if found is None else "holds another thing as"
        raise ValueError(
            f"sdf {place!r}: {where} {what} {name}; expected a function that takes points [n, 3]"
            " and returns their signed distances [n]"
        )
    return found
