"""Fine-tuning of a set that was made smaller, drawn as its file will be."""

from __future__ import annotations

from dataclasses import fields, replace

from jaxtyping import Float
from torch import Tensor

from splat.core.model import Explicit, Rates, columns_of
from splat.core.objective import Photometric
from splat.core.strategy import Fixed
from splat.export.quantisation import Quantisation
from splat.formats.settings import Settings
from splat.kernels import one_torch_thread
from splat.loop import Run, train
from splat.photos.loader import Loader
from splat.sensor.corrected import Corrected
from splat.types import Drawing, Frame, Gaussians, Renderer

PACE = 0.3
"""Factor on training's learning rates; that of the means is twice what training ends with."""
FITTED_EVERY = 50
"""Steps between fits of codebooks and bounds."""


def retrain(
    gaussians: Gaussians,
    frame: Frame,
    photos: Loader | Corrected,
    render: Renderer,
    background: Float[Tensor, "3"] | None,
    *,
    drawing: Drawing,
    suffix: str,
    settings: Settings,
    steps: int,
    seed: int = 0,
) -> Gaussians:
    """The set, in `frame`, fine-tuned for so many steps; rows are neither added nor removed.

    Every step draws what would be read back from a file that ends in `suffix`.
    """
    if gaussians.sh_degree is None:
        raise ValueError("Gaussians of plain colours cannot be trained; expected harmonics")
    model = Explicit(columns_of(gaussians), steps=steps, sh_every=0, rates=_rates())
    run = Run(
        model=model,
        strategy=Fixed(),
        objectives={"photometric": Photometric()},
        render=render,
        batches=photos,
        views=photos.cameras,
        photos=photos.batch_at,
        steps=steps,
        seed=seed,
        frame=frame,
        drawing=drawing,
        background=background,
        quantiser=Quantisation(suffix, frame, 0, settings, fitted_every=FITTED_EVERY),
    )
    with one_torch_thread():
        train(run)
    return model.bake()


def _rates() -> Rates:
    usual = Rates()
    slower = {
        field.name: PACE * getattr(usual, field.name)
        for field in fields(Rates)
        if field.name in ("log_scale", "quat", "opacity_logit", "sh")
    }
    return replace(usual, mean=2 * usual.mean_end, mean_end=2 * usual.mean_end, **slower)
