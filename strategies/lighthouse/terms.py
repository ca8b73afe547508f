"""Terms of the loss that keep surfaces flat, thin, and of one mind about their normals."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from splat.core.objective import Objective
from splat.core.step import Step
from splat.guidance import normals_of_depth
from splat.guidance.terms import solid
from splat.types import Needs


@dataclass(frozen=True)
class Flat(Objective):
    """weight * mean of the smallest scale of the Gaussians in sight, scene extents."""

    weight: float = 0.05

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        scales, seen = step.rendered.gaussians.scales, step.rendered.visible
        least = scales.amin(1) / step.extent
        return self.weight * (least * seen).sum() / seen.sum().clamp_min(1)


@dataclass(frozen=True)
class SmoothNormals(Objective):
    """weight * total variation of the blended normals: the mean over pixels of what neighbours
    differ by, along rows and along columns, where both are solid."""

    weight: float = 0.05
    needs = Needs(normal=True)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        normal = step.rendered.normal
        assert normal is not None
        counts = solid(step.rendered, step.batch)
        across = (normal[:, 1:] - normal[:, :-1]).abs().sum(2) * (counts[:, 1:] & counts[:, :-1])
        down = (normal[1:] - normal[:-1]).abs().sum(2) * (counts[1:] & counts[:-1])
        return self.weight * (across.sum() + down.sum()) / counts.numel()


@dataclass(frozen=True)
class Consistent(Objective):
    """weight * mean over pixels of 1 - cos between the blended normals and those of the expected
    depth, where the picture is solid and there is no edge; both move."""

    weight: float = 0.2
    needs = Needs(depth=True, normal=True)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        rendered = step.rendered
        assert rendered.depth is not None and rendered.normal is not None
        counts = solid(rendered, step.batch)
        shape, known = normals_of_depth(rendered.depth, step.batch.camera, counts)
        apart = 1 - (normalize(rendered.normal, dim=2, eps=1e-6) * shape).sum(2)
        return self.weight * (apart * known).mean()
