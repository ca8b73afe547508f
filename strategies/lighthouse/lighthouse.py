"""`Lighthouse`: any method with flat surfaces of steady normals, and large opaque rows spared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from splat.core.edit import Edit
from splat.core.model import Model
from splat.core.objective import Objective
from splat.core.step import Step
from splat.core.strategy import Wrapper
from splat.guidance import GivenNormal
from splat.rules.spare import conditions, spared
from splat.strategies.lighthouse.terms import Consistent, Flat, SmoothNormals
from splat.system.ranges import at_least, within

SIZES = ("size", "screen")
"""Reasons for which oversized rows are dropped."""


@dataclass(frozen=True)
class Lighthouse(Wrapper):
    """Keep surfaces flat and their normals steady, and spare large rows that are opaque.

    For rooms, whose bare walls tell little (after LighthouseGS, 2025): normals that are given with
    the photos, where there are any; normals that change little from pixel to pixel and agree with
    the depth drawn; Gaussians that are thin. Rows more opaque than `spared` are not dropped for
    their size: a bare wall is rightly one large Gaussian. `--init planes` starts from walls.
    """

    normal_weight: Annotated[float, at_least(0)] = 0.05
    """Of 1 - cos between drawn and given normals; without given ones there is no such term."""
    flat_weight: Annotated[float, at_least(0)] = 0.05
    """Of the mean of the smallest scales, scene extents."""
    smooth_weight: Annotated[float, at_least(0)] = 0.05
    """Of the mean difference of neighbouring normals."""
    agree_weight: Annotated[float, at_least(0)] = 0.2
    """Of 1 - cos between drawn normals and those of the drawn depth."""
    spared: Annotated[float, within(0, 1)] = 0.5
    """Opacity above which a row is not dropped for its size; 1: none is spared."""

    def objectives(self) -> Mapping[str, Objective]:
        own: dict[str, tuple[float, Objective]] = {
            "given_normal": (self.normal_weight, GivenNormal(self.normal_weight, steps=0)),
            "flat": (self.flat_weight, Flat(self.flat_weight)),
            "smooth_normals": (self.smooth_weight, SmoothNormals(self.smooth_weight)),
            "depth_to_normal": (self.agree_weight, Consistent(self.agree_weight)),
        }
        terms = {name: term for name, (weight, term) in own.items() if weight}
        return {**self.base.objectives(), **terms}

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        if edit is None or not edit.drop or not self._can_spare(step.model):
            return edit
        return spared(step, edit, conditions(f"opacity>{self.spared:g}"), SIZES, self.base.cap)

    def _can_spare(self, model: Model) -> bool:
        """Anchors have an opacity only for a camera; no rule asks for theirs."""
        return self.spared < 1 and "opacity_logit" in model.cloud
