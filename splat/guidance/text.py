"""What guides a run beside the photos, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from splat.core.objective import Objective
from splat.guidance.points import PointsDepth
from splat.guidance.terms import GivenDepth, GivenNormal
from splat.types import View


def guidance_text(views: Sequence[View], objectives: Mapping[str, Objective]) -> list[str]:
    """What is learned from beside the photos' colours, a sentence each."""
    sentences, points = [], objectives.get("points_depth")
    depth, normal = objectives.get("given_depth"), objectives.get("given_normal")
    if isinstance(points, PointsDepth):
        text = f"by the depth between the points of the scene, weight {points.weight:g}"
        sentences.append(f"{text}, in the end a hundredth of it")
    if isinstance(depth, GivenDepth):
        count = sum(view.depth is not None for view in views)
        how = "" if depth.kind == "metric" else ", factor and summand fitted to each"
        text = f"by the depth of {count} photos ({depth.kind}{how}), weight {depth.weight:g}"
        sentences.append(f"{text}, in the end a hundredth of it")
    if isinstance(normal, GivenNormal) and any(view.normal is not None for view in views):
        count = sum(view.normal is not None for view in views)
        late = ", in the end a hundredth of it" if normal.steps else ""
        sentences.append(f"by the normals of {count} photos, weight {normal.weight:g}{late}")
    return sentences
