"""The same things under another light."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from splat.core.model import Model
from splat.strategies.deferred import panorama
from splat.strategies.deferred.drawing import Shaded
from splat.strategies.deferred.light import Lit
from splat.strategies.deferred.model import Relightable
from splat.types import Renderer

TRAINED = "trained"
"""What the light that a run has learned is called."""


def relit(
    model: Model,
    render: Renderer,
    light: Float[Tensor, "h w 3"],
    *,
    albedo_scale: Float[Tensor, "3"] | None = None,
    surrounded: bool = False,
) -> Shaded:
    """What draws the Gaussians of a model under another light, by what draws Gaussians plainly.

    `light` is a panorama of linear radiance (`splat.strategies.deferred.panorama`), of an even
    number of rows. `albedo_scale` multiplies albedo by channel: what is bright and what is brightly
    lit look the same, so that a learned albedo is right up to a factor, which figures of relighting
    take out. With `surrounded` the light is seen behind everything. Raises ValueError where the
    model has no materials.
    """
    _check(model)
    made = Lit.by(light.to(render.device))
    return Shaded(render, lambda: made, albedo_scale=albedo_scale, surrounded=surrounded)


def albedo_scale(found: Float[Tensor, "n 3"], truth: Float[Tensor, "n 3"]) -> Float[Tensor, "3"]:
    """The factor by channel that brings learned albedo nearest to the true one: least squares."""
    return (found * truth).sum(0) / found.square().sum(0).clamp_min(1e-12)


def light_of(
    model: Model, what: str, *, rows: int = 0, degrees: float = 0.0, stops: float = 0.0
) -> Float[Tensor, "h w 3"]:
    """The panorama of a file, or the learned one (`trained`), turned and exposed.

    A file is brought to `rows`, 0: those of the learned light. It is turned about the z axis of the
    input by so many degrees, from +x towards +y, and made 2^stops times as bright.
    """
    learned = _check(model).light.panorama.detach()
    if what == TRAINED:
        found = learned
    else:
        given = panorama.read(Path(what)).to(learned.device)
        found = panorama.resized(given, rows or len(learned))
    return panorama.turned(found, degrees) * 2**stops


def _check(model: Model) -> Relightable:
    if not isinstance(model, Relightable):
        raise ValueError(
            f"{model.unit} without materials cannot be lit anew; expected a run of a method with"
            " deferred, such as adc + deferred"
        )
    return model
