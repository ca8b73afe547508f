"""`GivenDepth` and `GivenNormal`: what is drawn, held against maps that came with the photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from splat.core.objective import Objective
from splat.core.step import Step
from splat.guidance.align import Kind, Line, aligning_line, in_depth, line_to_points, visible
from splat.types import Batch, Needs, Rendered, View

SOLID = 0.5
"""Rendered opacity from which a pixel has a depth and a normal."""
LATE = 0.01
"""Factor on the weights at the end of a run."""
GROSS = 0.1
"""Logarithm of a ratio of depths beyond which a difference pulls less and less."""
FITTED = 4096
"""Pixels that scale and shift are fitted to, at most."""
LEAST_FITTED = 64
"""Pixels below which they are not fitted, and the picture is left out."""
LOOKED_AT = 20_000
"""Most points of the scene, evenly spread, that depth is aligned to."""
NEAREST = 1e-3
"""Aligned depth up to which it is taken for unknown, scene extents."""


@dataclass(frozen=True)
class GivenDepth(Objective):
    """weight * mean over pixels of g log(1 + |log(drawn / given)| / g), g = GROSS.

    Drawn is the expected depth where the picture is solid. Given depth that is known up to a factor
    and a summand only is aligned, for each picture by those with the least absolute relative
    residuals: to the points of the scene that the camera sees, or to what is drawn where they are
    too few. The residual does not change with the unit of length, and grows slowly where the given
    depth is grossly wrong. The weight falls to a hundredth over the run, since photographs know
    better in the end.
    """

    weight: float = 1.0
    kind: Kind = "affine"
    steps: int = 30_000
    """Steps of the run, over which the weight falls."""
    points: Float[Tensor, "n 3"] | None = field(default=None, compare=False, repr=False)
    """Points of the scene, frame of training, that depth is aligned to."""
    needs = Needs(depth=True, given_depth=True)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        rendered, batch = step.rendered, step.batch
        if batch.depth is None:
            return rendered.alpha.new_zeros(())
        assert rendered.depth is not None
        known = solid(rendered, batch) & (batch.depth != 0) & (rendered.depth.detach() > 0)
        target = self.target(batch, rendered.depth.detach(), known)
        if target is None:
            return rendered.alpha.new_zeros(())
        known &= target > NEAREST * step.extent
        # 1 in place of what is not known, for a gradient of 0 times infinity is none.
        one = target.new_ones(())
        ratio = rendered.depth.where(known, one) / target.where(known, one)
        apart = GROSS * torch.log1p(ratio.log().abs() / GROSS)
        return decayed(self.weight, step.number, self.steps) * (apart * known).mean()

    def target(
        self, batch: Batch, drawn: Float[Tensor, "h w"], known: Bool[Tensor, "h w"]
    ) -> Float[Tensor, "h w"] | None:
        """The given depth, aligned; None where it cannot be, as where it falls with what is drawn:
        that is nothing like it yet."""
        assert batch.depth is not None
        given, line = batch.depth.to(drawn), None
        if self.points is not None and self.kind != "metric":
            line = line_to_points(visible(batch, self.points), self.kind)
        line = line or _line_to_drawn(given, drawn, known, self.kind)
        return None if line is None else in_depth(given, line, self.kind)


@dataclass(frozen=True)
class GivenNormal(Objective):
    """weight * mean over pixels of 1 - cos between drawn and given normals.

    Drawn are the blended normals of the Gaussians, where the picture is solid. `steps` of the run,
    over which the weight falls to a hundredth; 0: it stays.
    """

    weight: float = 0.05
    steps: int = 30_000
    needs = Needs(normal=True, given_normal=True)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        rendered, batch = step.rendered, step.batch
        if batch.normal is None:
            return rendered.alpha.new_zeros(())
        assert rendered.normal is not None
        given = batch.normal.to(rendered.normal)
        known = solid(rendered, batch) & (given != 0).any(2)
        apart = 1 - (normalize(rendered.normal, dim=2, eps=1e-6) * given).sum(2)
        weight = decayed(self.weight, step.number, self.steps) if self.steps else self.weight
        return weight * (apart * known).mean()


def given_terms(
    views: Sequence[View],
    depth_weight: float,
    normal_weight: float,
    steps: int,
    points: Float[Tensor, "n 3"] | None = None,
) -> dict[str, Objective]:
    """The terms for what views have; weights of 0 leave them out. `points` are those of the scene,
    frame of training."""
    terms: dict[str, Objective] = {}
    kind = next((view.depth.kind for view in views if view.depth is not None), None)
    if kind is not None and depth_weight:
        some = None if points is None else points[:: max(1, -(-len(points) // LOOKED_AT))]
        terms["given_depth"] = GivenDepth(depth_weight, kind, steps, some)
    if normal_weight and any(view.normal is not None for view in views):
        terms["given_normal"] = GivenNormal(normal_weight, steps)
    return terms


def solid(rendered: Rendered, batch: Batch) -> Bool[Tensor, "h w"]:
    """Pixels where the picture is opaque and the photo's mask counts."""
    opaque: Tensor = rendered.alpha.detach() > SOLID
    return opaque if batch.mask is None else opaque & (batch.mask != 0)


def decayed(weight: float, number: int, steps: int) -> float:
    """A weight at a step: exponential decay to `LATE` of it over the run."""
    return float(weight * LATE ** min(1.0, number / max(steps, 1)))


def _line_to_drawn(
    given: Float[Tensor, "h w"],
    drawn: Float[Tensor, "h w"],
    known: Bool[Tensor, "h w"],
    kind: Kind,
) -> Line | None:
    """Scale and shift of given depth to the rendered one, where there are no points."""
    places = known.flatten().nonzero().squeeze(1)
    if kind != "metric" and len(places) < LEAST_FITTED:
        return None
    places = places[:: max(1, -(-len(places) // FITTED))]
    x, y = (each.flatten().index_select(0, places).double() for each in (given, drawn))
    return aligning_line(x, y, kind)
