"""`Sdf`: any method with a learned signed distance beside it, and pruning by that distance."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
import tyro
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core import schedule
from splat.core.edit import Drop, Edit, Rows
from splat.core.families import merged_edits
from splat.core.model import Making, Model
from splat.core.objective import Objective
from splat.core.step import Step
from splat.core.strategy import Strategy, Wrapper
from splat.strategies.sdf.coupling import NAME, Coupling, Weights
from splat.strategies.sdf.field import Box, Field
from splat.strategies.sdf.surface import Learned
from splat.system.numbers import hint
from splat.system.ranges import above, at_least, check_box

Six = tuple[float, float, float, float, float, float]

THRESHOLD = 0.03 / (3 * math.sqrt(3))
"""Of the box's diagonal: 0.03 in a box of side 3, as GS-ROR²'s code has it."""
FAINTEST = 0.005
"""Share of the opacity at the surface at which the adaptive threshold lies (3DGS's least)."""
ADAPTIVE_RANGE = (1e-4 / (3 * math.sqrt(3)), 0.05 / (3 * math.sqrt(3)))
"""Of the box's diagonal, within which the adaptive threshold stays (GS-ROR²)."""
MOST_DROPPED = 0.5
"""Share of the rows beyond which a prune is refused."""
CARVE = 8.0
"""Times the threshold at which pruning begins where the start may be all over the object."""
MARGIN = 0.1
"""Of a box that is fitted to the start, around it, in units of its longest side."""
SPARED = 0.005
"""Share of the start at either end of an axis that a fitted box may leave out."""

USUAL = Weights()
RESOLUTIONS = (32, 64, 128, 256)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sdf(Wrapper):
    """Learn a signed distance beside the Gaussians, each teaching the other, and prune by it.

    Depth and normals of both are brought together; what the distance says is away from the
    surface is pruned (GS-ROR², Zhu et al. 2024). For objects with outlines (masks or alpha), or
    for what is in a box. `splat mesh` makes the surface a mesh.
    """

    known_as = "sdf"
    box: Annotated[
        Six | None, tyro.conf.arg(metavar="X Y Z X Y Z"), hint("around the points of the start")
    ] = None
    """Where the distance is learned, in the coordinates of the scene (those of `splat info FILE`):
    x y z of the low corner, then of the high one. Needed where photos have no outlines."""
    mutual: bool = True
    """Whether Gaussians learn from the distance; without, it only learns from them."""
    prune: bool = True
    """Whether Gaussians away from the surface are pruned."""
    threshold: Literal["constant", "adaptive"] = "constant"
    """How far from the surface: a share of the box, or where the learned sharpness leaves a 200th
    of the opacity that is at the surface."""
    threshold_share: Annotated[float, above(0)] = THRESHOLD
    """The constant threshold, diagonals of the box (0.03 of GS-ROR²'s box of side 3)."""
    force: bool = False
    """Prune even where more than half of all would go; such a prune is refused otherwise."""
    learn_from: int = 1375
    """Step at which the distance begins to learn."""
    mutual_from: int = 5125
    """Step from which Gaussians learn from it; so long it only learns from them."""
    every: Annotated[int, at_least(1)] = 2
    """Steps between those that bring both together."""
    rays: Annotated[int, at_least(1)] = 1024
    """Rays a step."""
    samples: Annotated[int, at_least(1)] = 10
    """Points on a ray."""
    resolution: int = 128
    """Spans of the splines that its factors are, at last: 32, 64, 128 or 256."""
    prune_from: int = 18_750
    """First step after which Gaussians are pruned at the threshold."""
    prune_every: Annotated[int, at_least(1)] = 1250
    """Steps between prunes."""
    carve: Annotated[float | None, at_least(1, default="8, in a given box 1")] = None
    """Times the threshold at which pruning begins, at `mutual_from`, to fall to it by `prune_from`;
    a start all over the object is so brought to its surface bit by bit. 1: nothing is pruned before
    `prune_from` (GS-ROR²)."""
    weights: Weights = USUAL

    def __post_init__(self) -> None:
        super().__post_init__()
        check_box(self.box)
        if not 0 <= self.learn_from <= self.mutual_from:
            raise ValueError(
                f"learn_from is {self.learn_from} and mutual_from {self.mutual_from}; expected"
                " steps in that order"
            )
        if self.resolution not in RESOLUTIONS:
            raise ValueError(f"resolution is {self.resolution}, expected one of {RESOLUTIONS}")

    def scheduled(self, steps: int) -> Strategy:
        def at(step: int) -> int:
            return schedule.at(step, steps)

        return replace(
            self,
            base=self.base.scheduled(steps),
            learn_from=at(self.learn_from),
            mutual_from=at(self.mutual_from),
            prune_from=at(self.prune_from),
            prune_every=schedule.every(self.prune_every, steps),
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        own = [done for done in range(1, steps + 1) if self._due(done)]
        return {**self.base.acts(steps), **({"prune by distance": own} if own else {})}

    def objectives(self) -> Mapping[str, Objective]:
        weights = self.weights
        if not self.mutual:
            weights = replace(
                weights, depth_to_gaussians=0.0, normal_to_gaussians=0.0, centre_to_gaussians=0.0
            )
        own = Coupling(
            self.learn_from, self.mutual_from, self.every, self.rays, self.samples, weights,
            self.resolution, self.prune_from, boxed=self.box is not None,
        )  # fmt: skip
        return {**self.base.objectives(), NAME: own}

    def model(self, rows: Rows, making: Making) -> Model:
        model = self.base.model(rows, making)
        if NAME in model.beside:
            raise ValueError("sdf is asked for twice; one distance is learned beside the rows")
        draws = torch.Generator().manual_seed(making.seed)
        learned = Field(self._box(model, making), generator=draws)
        learned.to(model.cloud.device)
        model.beside[NAME] = learned.trained(making.steps)
        model.surface = Learned(learned)
        return model

    def proposal(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
        gone = self.condemned(step) if self._due(step.number + 1) else None
        if gone is not None and not gone.any():
            gone = None
        if self.base.recycles and not (gone is None and rows is None):
            moved = rows if gone is None else gone if rows is None else gone | rows
            return super().proposal(step, moved)
        edit = super().proposal(step, None)
        if gone is None:
            return edit
        drop = Drop(gone.nonzero().squeeze(1), "distance")
        return merged_edits([Edit(drop=(drop,)), edit], step.model.cloud)

    def _due(self, done: int) -> bool:
        first = self.prune_from
        if self._carve > 1:
            first -= max(0, first - self.mutual_from) // self.prune_every * self.prune_every
        return self.prune and done >= first and (done - first) % self.prune_every == 0

    @torch.no_grad()
    def condemned(self, step: Step) -> Bool[Tensor, "n"] | None:
        """Rows away from the surface; None where they are too many for this to be right.

        Outside a box that was given rows stay, for nothing is known of them; outside one that was
        fitted around what outlines show there is nothing.
        """
        learned = step.model.networks()[NAME].module
        assert isinstance(learned, Field)
        points = step.model.cloud[step.model.place].detach()
        low, high = learned.box
        outside = ((points < low) | (points > high)).any(1)
        distance = learned.value(learned.placed(points)) * learned.half_side
        # Gaussians of an anchor stand about it, within its cell.
        reach = self.most(learned) * self._carving(step.number + 1) + step.model.voxel
        away = ~(distance.abs() <= reach)
        gone: Tensor = away | outside if self.box is None else away & ~outside
        if not self.force and int(gone.sum()) > MOST_DROPPED * len(gone):
            _log.warning(
                "warning: step %s: sdf would prune %s of %s %s, more than half, and prunes none:"
                " the distance is not learned well or --box is wrong (--force prunes all the same)",
                f"{step.number + 1:,}", f"{int(gone.sum()):,}", f"{len(gone):,}", step.model.unit,
            )  # fmt: skip
            return None
        return gone

    def _carving(self, done: int) -> float:
        """Times the threshold at a step: it falls in proportion."""
        way = (self.prune_from - done) / max(1, self.prune_from - self.mutual_from)
        return float(self._carve ** min(1.0, max(0.0, way)))

    @property
    def _carve(self) -> float:
        if self.carve is not None:
            return self.carve
        return CARVE if self.box is None else 1.0

    def most(self, learned: Field) -> float:
        """The distance, frame of training, beyond which rows are pruned."""
        if self.threshold == "constant":
            return self.threshold_share * learned.diagonal
        # Where the logistic density falls to a share e of its peak: 4 q / (1 + q)^2 = e.
        root = 2 / FAINTEST - 1
        at = math.log(root + math.sqrt(root * root - 1)) / float(learned.sharpness.detach())
        low, high = (share * learned.diagonal for share in ADAPTIVE_RANGE)
        return min(max(at * float(learned.half_side), low), high)

    def _box(self, model: Model, making: Making) -> Box:
        """In the frame of training: the one given, or one around what the run starts with."""
        if self.box is not None:
            frame = making.frame
            low, high = (
                [frame.scale * (x - c) for x, c in zip(corner, frame.centre, strict=True)]
                for corner in (self.box[:3], self.box[3:])
            )
        else:
            low, high = _around(model.cloud[model.place].detach())
        (a, b, c), (x, y, z) = low, high
        return (a, b, c), (x, y, z)


def _around(points: Float[Tensor, "n 3"]) -> tuple[list[float], list[float]]:
    """A box around nearly all points, with a margin."""
    ordered = points.sort(0).values
    spared = int(SPARED * len(points))
    low, high = ordered[spared], ordered[len(points) - 1 - spared]
    margin = MARGIN * (high - low).amax().clamp_min(1e-6)
    return (low - margin).tolist(), (high + margin).tolist()
