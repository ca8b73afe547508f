"""Contributions of rows to pictures, from which all scores of significance are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.model import Model
from splat.types import (
    Batch,
    Contributions,
    PixelMap,
    Rendered,
    Renderer,
    Surveyed,
    stacked_maps,
)

Significance = Literal[
    "mass",
    "hits",
    "most",
    "area",
    "lightgaussian",
    "lightgaussian_released",
    "opaque",
    "squared",
    "mini",
    "mini_outdoor",
    "opacity",
]

VOLUME_POWER = 0.1
"""Exponent of a row's volume (LightGaussian)."""


@torch.no_grad()
def survey(
    model: Model,
    render: Renderer,
    batch: Batch,
    maps: Sequence[PixelMap] = (),
    background: Float[Tensor, "3"] | None = None,
    step: int | None = None,
    *,
    develop: Callable[[Rendered], Rendered] | None = None,
) -> Surveyed:
    """Draw one view and measure the contribution of every row; `step` as in `Model.forward`.

    Maps are made of the picture as `develop` gives it: in the exposure of the photo.
    """

    def weigh(rendered: Rendered) -> Float[Tensor, "h w m"]:
        developed = rendered if develop is None else develop(rendered)
        return stacked_maps([map_of(developed, batch) for map_of in maps])

    gaussians = model(batch.camera, step)
    rendered, contributions = render.survey(
        gaussians, batch.camera, background, weigh if maps else None
    )
    opaque = contributions.hits * gaussians.opacities
    source, n = gaussians.source, len(model.cloud)
    if source is not None:
        rows = source // model.slots
        contributions = _by_row(contributions, rows, n)
        opaque = opaque.new_zeros(n).index_add_(0, rows, opaque)
    return Surveyed(batch, rendered, contributions, opaque)


def _by_row(contributions: Contributions, rows: Tensor, n: int) -> Contributions:
    """Contributions of Gaussians reduced to the rows [n] that they came from."""

    def added(values: Tensor) -> Tensor:
        return values.new_zeros(n, *values.shape[1:]).index_add_(0, rows, values)

    return Contributions(
        mass=added(contributions.mass),
        hits=added(contributions.hits),
        transmitted=added(contributions.transmitted),
        most=contributions.most.new_zeros(n).scatter_reduce_(0, rows, contributions.most, "amax"),
        area=added(contributions.area),
        squared=added(contributions.squared),
        weighted=added(contributions.weighted),
    )


@dataclass(frozen=True)
class Scores:
    """Contributions of every row over several views: sums, and the largest in one view.

    In float64, so that counts of many views stay whole numbers.
    """

    mass: Float[Tensor, "n"]
    """Blending weight summed over views; so are the fields that follow, as in `Contributions`."""
    hits: Float[Tensor, "n"]
    transmitted: Float[Tensor, "n"]
    area: Float[Tensor, "n"]
    squared: Float[Tensor, "n"]
    weighted: Float[Tensor, "n m"]
    opaque: Float[Tensor, "n"]
    """As `Surveyed` has it; 0 where nobody asked."""
    most: Float[Tensor, "n"]
    """Largest blending weight in any pixel of any view."""
    area_most: Float[Tensor, "n"]
    """`area` in the view where it is largest."""
    weighted_most: Float[Tensor, "n m"]
    """`weighted` in the view where it is largest."""
    mean: Float[Tensor, "n"]
    """Mean blending weight over the pixels hit in a view, summed over the views in which the row
    is the strongest somewhere."""
    views: Float[Tensor, "n"]
    """Number of views in which the row hits a pixel."""


_LARGEST = ("most", "area_most", "weighted_most")


@torch.no_grad()
def scores(surveys: Iterable[Surveyed]) -> Scores:
    """Reduce views one after the other: `scores(step.survey(i) for i in indices)`."""
    total: Scores | None = None
    for each in surveys:
        view = view_scores(each.rows, each.opaque)
        total = view if total is None else combined(total, view)
    if total is None:
        raise ValueError("scores were asked for over no views; expected at least one")
    return total


def view_scores(rows: Contributions, opaque: Float[Tensor, "n"] | None = None) -> Scores:
    """The scores of one view."""
    sums = {each.name: getattr(rows, each.name).double() for each in fields(rows)}
    mean = sums["mass"] / sums["hits"].clamp_min(1)
    return Scores(
        **sums,
        opaque=torch.zeros_like(sums["hits"]) if opaque is None else opaque.double(),
        area_most=sums["area"],
        weighted_most=sums["weighted"],
        mean=mean.where(sums["area"] > 0, 0),
        views=(sums["hits"] > 0).double(),
    )


def combined(total: Scores, view: Scores) -> Scores:
    """The scores of both, as though their views had been looked at together."""
    if total.weighted.shape != view.weighted.shape:
        raise ValueError(
            f"one view was surveyed for {total.weighted.shape[1]} maps and"
            f" {len(total.weighted)} rows, another for {view.weighted.shape[1]} and"
            f" {len(view.weighted)}; they must agree"
        )

    def both(name: str) -> Tensor:
        a, b = getattr(total, name), getattr(view, name)
        return torch.maximum(a, b) if name in _LARGEST else a + b

    return Scores(**{each.name: both(each.name) for each in fields(total)})


def significance(
    name: Significance,
    scores: Scores | None,
    opacity: Float[Tensor, "n"],
    scale: Float[Tensor, "n 3"],
) -> Float[Tensor, "n"]:
    """A score of every row, the more significant the larger, of the type of `opacity`.

    `opacity` and `scale` are activated; `scores` may be None for `opacity` alone. The names:

    - `mass`: blending weight summed over all pixels of all views.
    - `hits`: pixels in which the row is drawn.
    - `most`: the largest blending weight anywhere (RadSplat, Niemeyer et al. 2024).
    - `area`: pixels in which it is the strongest.
    - `lightgaussian`: opacity times the transmittance in front of it, over the pixels hit, times
      clip(V / V_90, 0, 1)^0.1, V_90 being the volume that a tenth of the rows exceeds
      (LightGaussian, Fan et al. 2024, as in the paper).
    - `lightgaussian_released`: as the code released with it: opacity times the pixels hit, without
      transmittance, times (V / V_10)^0.1, V_10 being the volume that nine tenths exceed, unclipped.
    - `opaque`: pixels hit times the opacity that the row is drawn with, view by view: Light4GS,
      over all views and times. Of what stands still that is `lightgaussian_released` without the
      volume.
    - `squared`: squared derivatives of the picture by the projected Gaussian's value
      (Speedy-Splat, Hanson et al. 2025).
    - `mini`: `mass` of rows that are the strongest in some pixel, 0 of the others (Mini-Splatting,
      Fang & Wang 2024).
    - `mini_outdoor`: its variant for outdoor scenes: the mean blending weight over the pixels hit,
      summed over the views in which the row is the strongest somewhere.
    - `opacity`: the row's own.
    """
    if name not in get_args(Significance):
        raise ValueError(
            f"there is no score of significance {name!r}; expected one of"
            f" {', '.join(get_args(Significance))}"
        )
    if name == "opacity":
        return opacity
    if scores is None:
        raise ValueError(f"the score {name!r} is made from views; give it their scores")
    return _FORMULAS[name](scores, opacity.double(), scale.double()).to(opacity.dtype)


def _lightgaussian(scores: Scores, opacity: Tensor, scale: Tensor) -> Tensor:
    ratio = _log_volume_over(scale, exceeding=len(scale) // 10).clamp_max(0)
    return opacity * scores.transmitted * (VOLUME_POWER * ratio).exp()


def _lightgaussian_released(scores: Scores, opacity: Tensor, scale: Tensor) -> Tensor:
    ratio = _log_volume_over(scale, exceeding=9 * len(scale) // 10)
    return opacity * scores.hits * (VOLUME_POWER * ratio).exp()


def _log_volume_over(scale: Tensor, exceeding: int) -> Tensor:
    """Logarithm of volumes over the one that `exceeding` rows may exceed.

    Logarithms, as the volume of a small row is below what a float holds.
    """
    volume = scale.clamp_min(torch.finfo(scale.dtype).tiny).log().sum(-1)
    if not len(volume):
        return volume
    return volume - volume.kthvalue(len(volume) - exceeding).values


_FORMULAS: Mapping[str, Callable[[Scores, Tensor, Tensor], Tensor]] = {
    "mass": lambda scores, opacity, scale: scores.mass,
    "hits": lambda scores, opacity, scale: scores.hits,
    "most": lambda scores, opacity, scale: scores.most,
    "area": lambda scores, opacity, scale: scores.area,
    "lightgaussian": _lightgaussian,
    "lightgaussian_released": _lightgaussian_released,
    "opaque": lambda scores, opacity, scale: scores.opaque,
    "squared": lambda scores, opacity, scale: scores.squared,
    "mini": lambda scores, opacity, scale: scores.mass.where(scores.area > 0, 0),
    "mini_outdoor": lambda scores, opacity, scale: scores.mean,
}
