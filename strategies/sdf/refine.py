"""A signed distance that goes on learning from Gaussians that are done: for a better mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from splat.kernels import one_torch_thread
from splat.strategies.sdf.coupling import LOOK_EVERY, Coupling, Weights
from splat.strategies.sdf.field import Field, finer
from splat.types import Batch, Camera, Gaussians, Needs, Renderer

REFINING = Weights(
    normal_to_sdf=10.0,
    depth_to_gaussians=0.0,
    normal_to_gaussians=0.0,
    centre_to_gaussians=0.0,
    mask=5.0,
    alpha=0.0,
)
"""GS-ROR²'s second stage: normals and masks weigh more, and nothing comes back."""
RATE = 0.1
"""Of the rates that a run begins with."""
FINEST = 256
"""Spans of the splines, at least."""


def refine(
    field: Field,
    seen_by: Callable[[Camera], Gaussians],
    render: Renderer,
    batches: Callable[[int], Batch],
    *,
    steps: int,
    finest: int = FINEST,
    seed: int = 0,
    rate: float = RATE,
    weights: Weights = REFINING,
    shown: Callable[[Iterable[int]], Iterable[int]] = lambda steps: steps,
) -> None:
    """Train the field on what the Gaussians show to the camera of each step's batch, in place.

    Depth and normals of the Gaussians are the teacher (GS-ROR², Zhu et al. 2024), with the outlines
    of batches that have one; pictures are not looked at. The splines are made as fine as `finest`
    at once. All in the frame of training.
    """
    trained = field.trained(steps)
    while field.spans < finest:
        finer(trained)
    coupling = Coupling(start=0, join=0, weights=weights, boxed=True)
    draws = torch.Generator(field.box.device).manual_seed(seed)
    with one_torch_thread():
        for step in shown(range(steps)):
            if step % LOOK_EVERY == 0:
                field.look()
            batch = batches(step)
            with torch.no_grad():
                needs = Needs(depth=True, normal=True)
                rendered = render(seen_by(batch.camera), batch.camera, needs)
            terms = coupling.terms(field, batch, rendered, draws, 1)
            torch.autograd.backward(sum(terms.values(), rendered.alpha.new_zeros(())))
            trained.optimize(step, rate)
            trained.optimizer.zero_grad(set_to_none=True)
