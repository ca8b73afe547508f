"""A signed distance that goes on learning from Gaussians that are done: for a better mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

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
RATE = 0.3
"""Of the rates that a run begins with."""


def refine(
    field: Field,
    seen_by: Callable[[Camera], Gaussians],
    render: Renderer,
    cameras: Sequence[Camera],
    *,
    steps: int,
    finest: int = 256,
    seed: int = 0,
    weights: Weights = REFINING,
    shown: Callable[[Iterable[int]], Iterable[int]] = lambda steps: steps,
) -> None:
    """Train the field on what the Gaussians show to cameras (frame of training), in place.

    Depth, normals and opacity of the Gaussians are the teacher (GS-ROR², Zhu et al. 2024), and the
    splines are made as fine as `finest` at once.
    """
    if not cameras:
        raise ValueError("there are no cameras to refine the distance from")
    trained = field.trained(steps)
    while field.spans < finest:
        finer(trained)
    coupling = Coupling(start=-steps, join=steps, weights=weights, boxed=True)
    draws = torch.Generator(field.box.device).manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    with one_torch_thread():
        for step in shown(range(steps)):
            if step % LOOK_EVERY == 0:
                field.look()
            if step % len(cameras) == 0:
                turn = torch.randperm(len(cameras), generator=order)
            camera = cameras[int(turn[step % len(cameras)])]
            with torch.no_grad():
                rendered = render(seen_by(camera), camera, Needs(depth=True, normal=True))
            nothing = torch.zeros(camera.height, camera.width, 3, dtype=torch.uint8)
            outline = (255 * rendered.alpha.clamp(0, 1)).round().to(torch.uint8)
            batch = replace(Batch(camera, nothing.to(outline.device)), outline=outline)
            terms = coupling.terms(field, batch, rendered, draws, 0)
            torch.autograd.backward(
                [sum(terms.values(), outline.new_zeros((), dtype=torch.float32))]
            )
            trained.moved(step, RATE)
            trained.optimizer.zero_grad(set_to_none=True)
