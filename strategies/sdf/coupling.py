"""Gaussians and a signed distance that teach each other: terms of the loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from splat.core.objective import Objective
from splat.core.step import Step
from splat.strategies.sdf.field import COARSEST, PAPER_HALF, Field, finer, tv
from splat.strategies.sdf.rays import Met, Rays, chosen, met, rays, sections
from splat.system.ranges import at_least, check_fields
from splat.types import Batch, Needs, Rendered

NAME = "sdf"
"""Of the field among a model's networks."""
SOLID = 0.5
"""Opacity from which a ray counts as meeting a surface."""
SURE = 1e-4
"""How far from 0 and 1 an opacity stays when its logarithm is taken."""
FREE = 0.05
"""Half sides that a point must be in front of a surface to count as free, and that it should then
be away from one, at least."""
OUTLINED, WITHOUT = (0.1, 0.5), (0.05, 0.8)
"""Half sides by which distances along a ray may differ for the field to agree with the Gaussians,
and the share of the rays that must agree for it to teach: what has not learned does not. With
outlines, by which it learns more than the Gaussians know, and without."""
PIXELS = 4096
"""Of a photo whose opacity is compared with the outline."""
LOOK_EVERY = 100
"""Steps between updates of the grid that leads rays."""
NEAR = 0.02
"""Distance, half sides, of the pairs of points by which smoothness is judged."""
SPARSE = 20 * PAPER_HALF
"""How fast the sparsity term falls with distance, per half side (GS-ROR²: 20 at a half of 1.5)."""


@dataclass(frozen=True)
class Weights:
    """Of the terms; distances count as in a box of half side 1.5, as in GS-ROR²."""

    depth_to_sdf: Annotated[float, at_least(0)] = 0.5
    normal_to_sdf: Annotated[float, at_least(0)] = 0.5
    depth_to_gaussians: Annotated[float, at_least(0)] = 0.25
    normal_to_gaussians: Annotated[float, at_least(0)] = 0.25
    centre_to_gaussians: Annotated[float, at_least(0)] = 0.5
    """Distances of the Gaussians' centres, which depth alone leaves where others hide them (not in
    GS-ROR²)."""
    mask: Annotated[float, at_least(0)] = 1.0
    """Cross entropy of the field's opacity and the outline."""
    free: Annotated[float, at_least(0)] = 1.0
    """What the field lacks to be free in front of where the Gaussians have a surface; only where
    there are no outlines, for mirrors have their surface behind the true one."""
    eikonal: Annotated[float, at_least(0)] = 2.0
    """Gradients of length 1."""
    smooth: Annotated[float, at_least(0)] = 0.1
    """Normals at neighbouring points of the surface that agree, in place of a Hessian."""
    sparse: Annotated[float, at_least(0)] = 0.01
    """exp(-20 |distance|) at points all over the box."""
    tv: Annotated[float, at_least(0)] = 0.1
    """Total variation of the factors, per span of the coarsest."""
    alpha: Annotated[float, at_least(0)] = 0.2
    """Cross entropy of the Gaussians' opacity and the outline."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Seen:
    """What Gaussians show along rays."""

    inside: Float[Tensor, "r"]
    """How much of the pixel is of what is in the box: by the outline, or by the Gaussians' own
    depth."""
    known: Float[Tensor, "r"]
    """1 where `inside` is known, 0 where something in front of the box hides it."""
    solid: Bool[Tensor, "r"]
    """Where Gaussians have a surface in the box."""
    distance: Float[Tensor, "r"]
    """Along the ray, half sides."""
    normal: Float[Tensor, "r 3"]
    """Unit length."""


@dataclass(frozen=True)
class Coupling(Objective):
    """Mutual supervision of depth and normals between Gaussians and a field (GS-ROR², Zhu et al.
    2024), and what keeps the field a signed distance.

    Each side learns from the other's values without passing gradients on to it. Until `join` only
    the field learns.
    """

    start: int
    """Step at which the field begins to learn."""
    join: int
    """Step from which the Gaussians learn from it, too."""
    every: int = 2
    """Steps between those that look at both, from `join` on."""
    rays: int = 1024
    """Rays a step."""
    samples: int = 10
    """Points on a ray."""
    weights: Weights = Weights()
    finest: int = 128
    """Spans of the field's splines at `settle`; from `join` on they are halved on the way there."""
    settle: int = 0
    boxed: bool = True
    """Whether the box was given, and may hold part of what is photographed; without, it holds all
    of what outlines show."""

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(depth=True, normal=True, outline=True)

    def needs_at(self, step: int) -> Needs:
        return self.needs if self.due(step) else Needs()

    def due(self, step: int) -> bool:
        """Whether a step, by its number, looks at both."""
        if step < self.join:
            return step >= self.start
        return (step + 1) % self.every == 0  # so that the log, every ten steps, has some

    def spans(self, step: int) -> int:
        """Of the field's splines at a step."""
        halvings = max(0, (self.finest // COARSEST).bit_length() - 1)
        if step < self.join or not halvings:
            return COARSEST
        pace = max(1, (self.settle - self.join) // halvings)
        return COARSEST << min(halvings, 1 + (step - self.join) // pace)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        trained = step.model.networks()[NAME]
        field = trained.module
        assert isinstance(field, Field)
        if step.batch.outline is None and not self.boxed:
            raise ValueError(
                f"{step.batch.name or 'a photo'} has neither a mask nor an alpha channel, which sdf"
                " takes for the outline of what it is to learn; give masks (--masks FOLDER), or the"
                " box in which to learn whatever is there: --box X Y Z X Y Z"
            )
        if not self.due(step.number):
            return step.rendered.alpha.new_zeros(())
        while field.spans < self.spans(step.number):
            finer(trained)
        if step.number == self.start or step.number % LOOK_EVERY < self.every:
            field.look()
        batch = step.batch
        if self.boxed and batch.outline is not None and int(batch.outline.min()) == 255:
            # An alpha channel that hides nothing tells nothing of what is in the box.
            batch = replace(batch, outline=None)
        terms = self.terms(field, batch, step.rendered, step.generator("sdf"), step.number)
        return sum(terms.values(), step.rendered.alpha.new_zeros(()))

    def terms(
        self, field: Field, batch: Batch, rendered: Rendered, generator: torch.Generator, step: int
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms of a photo and what is drawn of it, by their names in `Weights`, weights
        included."""
        camera = batch.camera
        found = rays(camera, field, chosen(camera, field, self.rays, generator))
        seen = observed(batch, rendered, found)
        ends = sections(found, field, self.samples, generator)
        device = ends.device
        evenly = 2 * torch.rand(self.rays, 3, generator=generator, device=device) - 1
        count = len(evenly) // 2
        along = seen.distance.detach()[:count, None]
        surface = found.origin + along * found.direction[:count]
        aside = NEAR * torch.randn(count, 3, generator=generator, device=device)
        means = rendered.gaussians.means
        asked = self.rays if len(means) else 0
        some = torch.randint(max(1, len(means)), (asked,), generator=generator, device=device)
        centres = field.placed(means.index_select(0, some))
        points = [centres.detach(), evenly, surface, surface + aside]
        extra = torch.cat(points).clamp(-1, 1)
        turned = min(1.0, (step - self.start) / max(1, self.join - self.start))
        drawn = met(found, field, ends, extra, turned)
        terms = self._taught(found, seen, drawn, step) | self._kept(seen, drawn)
        terms["tv"] = tv(field, generator)
        if batch.outline is None:
            terms["free"] = self._freed(seen, drawn)
        else:
            pixels = torch.randint(
                batch.outline.numel(), (PIXELS,), generator=generator, device=device
            )
            outline = batch.outline.flatten().index_select(0, pixels) / 255.0
            alpha = rendered.alpha.flatten().index_select(0, pixels)
            terms["alpha"] = _entropy(alpha, outline, torch.ones_like(outline))
        if "depth_to_gaussians" in terms:
            terms["centre_to_gaussians"] = self._pulled(centres, drawn)
        factors = vars(self.weights)
        return {name: factors[name] * term for name, term in terms.items()}

    def _taught(
        self, found: Rays, seen: Seen, drawn: Met, step: int
    ) -> dict[str, Float[Tensor, ""]]:
        solid = seen.solid & found.hit
        both = solid & (drawn.opacity.detach() > SOLID)
        normal = normalize(drawn.normal, dim=1)
        terms = {
            "mask": _entropy(drawn.opacity, seen.inside, seen.known),
            "depth_to_sdf": PAPER_HALF
            * _mean((drawn.distance - seen.distance.detach()).abs(), solid),
            "normal_to_sdf": _mean(1 - (normal * seen.normal.detach()).sum(1), solid),
        }
        apart = (drawn.distance.detach() - seen.distance).abs()
        near, share = WITHOUT if self.boxed else OUTLINED
        alike = (both & (apart.detach() < near)).sum() / solid.sum().clamp_min(1)
        if step >= self.join and bool(alike > share):
            terms["depth_to_gaussians"] = PAPER_HALF * _mean(apart, both)
            turned = 1 - (normal.detach() * seen.normal).sum(1)
            terms["normal_to_gaussians"] = _mean(turned, both)
        return terms

    def _pulled(self, centres: Float[Tensor, "m 3"], drawn: Met) -> Float[Tensor, ""]:
        """Mean distance of centres from the surface, of those in the box."""
        end = len(drawn.values) - self.rays - 2 * (self.rays // 2)
        part = slice(end - len(centres), end)
        value, slope = drawn.values[part].detach(), drawn.slopes[part].detach()
        # The field at the centres, and by its slope how it changes with them.
        there = value + (slope * (centres - centres.detach())).sum(1)
        return PAPER_HALF * _mean(there.abs(), (centres.detach().abs() <= 1).all(1))

    def _freed(self, seen: Seen, drawn: Met) -> Float[Tensor, ""]:
        """Mean of what distances lack in front of the Gaussians' surface."""
        front = seen.distance.detach()[:, None] - drawn.middles
        free = seen.solid[:, None] & (front > FREE)
        along = drawn.values[: free.numel()].view_as(free)
        return _mean((FREE - along).relu(), free)

    def _kept(self, seen: Seen, drawn: Met) -> dict[str, Float[Tensor, ""]]:
        count = self.rays // 2
        evenly = drawn.values[-self.rays - 2 * count : -2 * count]
        here, there = (normalize(each, dim=1) for each in drawn.slopes[-2 * count :].split(count))
        return {
            "eikonal": (drawn.slopes.norm(dim=1) - 1).square().mean(),
            "smooth": _mean((here - there).square().sum(1), seen.solid[:count]),
            "sparse": (-SPARSE * evenly.abs()).exp().mean(),
        }


def observed(batch: Batch, rendered: Rendered, found: Rays) -> Seen:
    """What a picture shows along rays, with gradients."""
    assert rendered.depth is not None and rendered.normal is not None
    pixels = found.pixels
    alpha = rendered.alpha.detach().flatten().index_select(0, pixels)
    distance = rendered.depth.flatten().index_select(0, pixels) / found.to_depth
    normal = rendered.normal.reshape(-1, 3).index_select(0, pixels)
    within = (distance > found.enter) & (distance < found.leave) & (alpha > SOLID)
    outline = batch.outline
    if outline is not None:
        inside = outline.flatten().index_select(0, pixels) / 255.0
        known = torch.ones_like(inside)
    else:
        inside = within.float()
        known = 1 - ((distance <= found.enter) & (alpha > SOLID)).float()
    if batch.mask is not None and outline is None:
        known = known * batch.mask.flatten().index_select(0, pixels)
    return Seen(inside, known, within & (inside > SOLID), distance, normalize(normal, dim=1))


def _entropy(opacity: Tensor, wanted: Tensor, counts: Tensor) -> Float[Tensor, ""]:
    """Binary cross entropy, mean over what counts."""
    sure = opacity.clamp(SURE, 1 - SURE)
    each = -(wanted * sure.log() + (1 - wanted) * (1 - sure).log())
    found: Tensor = (each * counts).sum() / counts.sum().clamp_min(1)
    return found


def _mean(values: Tensor, where: Bool[Tensor, "r"]) -> Float[Tensor, ""]:
    """Mean of some; 0 of none."""
    found: Tensor = (values * where).sum() / where.sum().clamp_min(1)
    return found
