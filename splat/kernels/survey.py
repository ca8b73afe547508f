"""What each Gaussian did in a picture that has just been drawn."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from splat.kernels.crossing import needed, optional
from splat.kernels.rasterize import Statistics, maps_of
from splat.types import Contributions

_SCORES = 5


@torch.no_grad()
def survey(
    statistics: Statistics, maps: Float[Tensor, "h w m"] | None = None
) -> tuple[Contributions, Int32[Tensor, "h w"]]:
    """Contributions to the picture that `rasterize` gave these statistics of, and for every pixel
    the number of the Gaussian with the largest blending weight, -1 where none is drawn.

    Opacity in G = alpha / opacity is the one drawn with: antialiasing has dimmed it.
    """
    if statistics.drawn is None:
        raise RuntimeError("nothing was drawn yet: give it the statistics of a picture")
    frame, image = statistics.drawn
    n, maps = len(statistics.radii), maps_of(maps, image)
    m = 0 if maps is None else maps.shape[2]
    scores = image.new_empty(_SCORES + m, n)
    strongest = torch.empty(image.shape[:2], dtype=torch.int32, device=image.device)
    height, width = image.shape[:2]
    frame.native.survey(
        {
            **needed(image, image=(image, (height, width, 3)), scores=(scores, (_SCORES + m, n))),
            **needed(image, torch.int32, strongest=(strongest, (height, width))),
            **optional(image, maps=(maps, (height, width, m))),
            "map_count": m,
        }
    )
    mass, hits, transmitted, squared, most = scores[:_SCORES]
    area = torch.bincount(strongest.flatten() + 1, minlength=n + 1)[1:].to(image.dtype)
    found = Contributions(mass, hits, transmitted, most, area, squared, scores[_SCORES:].T)
    return found, strongest
