"""The part that makes Gaussians relightable: materials in place of colours, and a light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from splat.core.chain import check_makes_the_model
from splat.core.edit import Rows
from splat.core.model import Making, Model
from splat.core.objective import Objective
from splat.core.step import Step
from splat.core.strategy import Wrapper
from splat.strategies.deferred.drawing import CHANNELS, has_materials
from splat.strategies.deferred.model import SEEN_FROM, Relightable
from splat.strategies.deferred.terms import (
    Flat,
    NeutralLight,
    NormalsOfDepth,
    Outline,
    SmoothMaterials,
)
from splat.system.ranges import at_least, within


@dataclass(frozen=True)
class Deferred(Wrapper):
    """Learn materials and the light in place of colours, so that the scene can be lit anew.

    Each Gaussian has an albedo, a roughness and a metallic; its normal is its shortest axis. They
    are blended first, and each pixel is then shaded once by a light from all around that is
    learned with them, as GS-ROR2 (Zhu et al.) has it. Meant for objects before a plain background.
    `splat relight` then shows it under another light. Shadows and light between surfaces are left
    out: what there is of them ends up in the albedo.
    """

    known_as = "deferred"
    light_rows: Annotated[int, within(16, 256)] = 64
    """Rows of the learned panorama, even; it has twice as many columns."""
    normal_weight: Annotated[float, at_least(0)] = 0.2
    """Weight of the term that brings normals and the slopes of the depth map together."""
    outline_weight: Annotated[float, at_least(0)] = 0.2
    """Weight of the term that compares what is opaque with the outlines of photos, if they have an
    alpha channel or masks."""
    flat_weight: Annotated[float, at_least(0)] = 1.0
    """Weight of the mean shortest scale, scene extents: only what is flat has a normal."""
    smooth_weight: Annotated[float, at_least(0)] = 0.01
    """Weight of the term that keeps materials even where the photo is."""
    light_weight: Annotated[float, at_least(0)] = 0.05
    """Weight of the term that keeps the light white."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.light_rows % 8:
            raise ValueError(f"light_rows is {self.light_rows}; expected a multiple of 8")

    def objectives(self) -> Mapping[str, Objective]:
        found = dict(self.base.objectives())
        if self.normal_weight:
            found["normals_of_depth"] = NormalsOfDepth(self.normal_weight)
        if self.outline_weight:
            found["outline"] = Outline(self.outline_weight)
        if self.flat_weight:
            found["flat"] = Flat(self.flat_weight)
        if self.smooth_weight:
            found["smooth_materials"] = SmoothMaterials(self.smooth_weight)
        if self.light_weight:
            found["neutral_light"] = NeutralLight(self.light_weight)
        return found

    def model(self, rows: Rows, making: Making) -> Model:
        check_makes_the_model(self)
        return Relightable(rows, making, self.light_rows)

    def begin(self, model: Model) -> None:
        super().begin(model)
        model.cloud.track(SEEN_FROM, 3, combine="sum")

    def observe(self, step: Step) -> None:
        super().observe(step)
        rendered, gaussians = step.rendered, step.rendered.gaussians
        if rendered.gradient.signed is None or not has_materials(gaussians):
            return
        assert gaussians.features is not None
        # Only what reaches a pixel has a gradient: what is hidden does not tell where outside is.
        reached = (rendered.gradient.signed != 0).any(1, keepdim=True)
        toward = gaussians.features.detach()[:, 2:CHANNELS] * reached
        step.model.cloud.statistic(SEEN_FROM).add_(toward)
