"""The part by which a field over space and time deforms the Gaussians of any method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch

from splat.core import schedule
from splat.core.edit import Rows
from splat.core.model import Making, Model
from splat.core.objective import Objective
from splat.core.strategy import Wrapper
from splat.kernels.hexplane import CHANNELS, SCALES, WIDTH
from splat.strategies.deform.field import DeformationField, Sizes, box_of
from splat.strategies.deform.model import NAME, Deformed
from splat.strategies.deform.terms import EvenPlanes
from splat.system.ranges import at_least, within

PLANES, LAYERS = (1.6e-3, 1.6e-5), (1.6e-4, 1.6e-6)
"""Learning rates of 4DGaussians, at the start and the end."""
MOST_RAISED = 10.0
"""Short runs have higher rates, by the share of the published steps that they have; at most so
many times."""
INSIDE, MARGIN = 0.98, 0.05
"""Share of the first points that the field tells apart, along each axis, and the margin around
them, in sides of their box."""
EVERY = 8
"""Steps between those at which planes are kept even."""


@dataclass(frozen=True)
class Deform(Wrapper):
    """A field over space and time deforms the Gaussians of the method before it, for scenes that
    move (4DGaussians, Wu et al., CVPR 2024).

    Planes over each two of x, y, z and time are read where a Gaussian is, and three small heads
    make of them how it is moved, stretched and turned at that time. At first the scene is trained
    as one that stands still. Growth looks at the Gaussians as they lie before they are deformed.

    Differs: smaller planes and layers, which two cores can train (`--resolution 64 --channels 32
    --width 64` has the published ones); planes of space begin constant; planes are kept even at
    every eighth step, by as much; what no Gaussian reads is not moved.
    """

    coarse: Annotated[int, at_least(0)] = 3000
    """Steps at the start in which nothing is deformed."""
    resolution: Annotated[int, within(4, 256)] = 32
    """Values along a side of the planes of the coarsest scale."""
    scales: Annotated[int, within(1, SCALES)] = 2
    """Scales of planes, each twice as fine as the one before."""
    channels: Annotated[int, within(16, CHANNELS)] = 16
    """Channels of each plane: 16, 32 or 48."""
    width: Annotated[int, within(16, WIDTH)] = 32
    """Units of the heads' layers: 16, 32, 48 or 64."""
    opacity: bool = False
    """Whether opacities depend on the time, too."""
    even_space: Annotated[float, at_least(0)] = 1e-4
    """Weight of the squared second differences of planes of space."""
    even_time: Annotated[float, at_least(0)] = 0.01
    """Weight of those of planes of time, along it."""
    near_one: Annotated[float, at_least(0)] = 1e-4
    """Weight of how far planes of time are from 1, which changes nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("channels", "width"):
            value = getattr(self, name)
            if value % 16:
                raise ValueError(f"{name} is {value}; expected a multiple of 16")

    def scheduled(self, steps: int) -> Deform:
        return replace(
            self, base=self.base.scheduled(steps), coarse=schedule.at(self.coarse, steps)
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        own = {"begin to deform": [self.coarse]} if 0 < self.coarse <= steps else {}
        return {**self.base.acts(steps), **own}

    def objectives(self) -> Mapping[str, Objective]:
        own = EvenPlanes(self.coarse, EVERY, self.even_space, self.even_time, self.near_one)
        idle = not (self.even_space or self.even_time or self.near_one)
        return {**self.base.objectives(), **({} if idle else {"even_planes": own})}

    def model(self, rows: Rows, making: Making) -> Model:
        base = self.base.model(rows, making)
        if NAME in base.beside:
            raise ValueError("deform is asked for twice; one field deforms what is drawn")
        instants = len({camera.time for camera in making.views})
        sizes = Sizes(
            sides=tuple(self.resolution * 2**scale for scale in range(self.scales)),
            instants=max(2, -(-instants // 2)),
            channels=self.channels,
            width=self.width,
            opacity=self.opacity,
        )
        box = box_of(base.cloud[base.place], INSIDE, MARGIN)
        draws = torch.Generator().manual_seed(making.seed)
        field = DeformationField(box, sizes, draws).to(base.cloud.device)
        raised = min(MOST_RAISED, max(1.0, schedule.PUBLISHED_STEPS / max(1, making.steps)))
        planes, layers = ((raised * a, raised * b) for a, b in (PLANES, LAYERS))
        base.beside[NAME] = field.trained(planes, layers, making.steps)
        return Deformed(base, field, self.coarse)
