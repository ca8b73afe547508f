"""What one step of training shows to objectives, strategies and watchers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.types import Batch, Camera, Rendered, Renderer, Survey

if TYPE_CHECKING:
    from splat.core.model import Model


@dataclass(frozen=True)
class Step:
    """All that objectives, strategies and watchers may see of one step (at most ten fields)."""

    number: int
    """Steps done before this one: the first step is 0."""
    model: Model
    """What is trained: its rows (`model.cloud`), and the Gaussians that they make."""
    batch: Batch
    """The photograph of this step, with its camera."""
    rendered: Rendered
    """What was drawn from that camera."""
    views: Sequence[Camera]
    """All training cameras."""
    render: Renderer
    """Draws Gaussians from a camera as training does."""
    generator: Callable[[str], torch.Generator]
    """A fresh stream for a purpose, from (seed, number, purpose): equal after resume."""
    extent: float
    """Scene radius, world units of training: 1.1 x largest distance of a camera to their mean."""
    survey: Survey
    """Contributions of every row to a training view now: `step.survey(index, maps)`."""
    seen: Bool[Tensor, "n"] | None = None
    """Rows in sight of any process, where several made this step; None: this process only."""

    @property
    def rows_in_sight(self) -> Bool[Tensor, "n"]:
        """Rows of which a Gaussian was projected inside the picture, of any process."""
        return self.model.rows_in_sight(self.rendered) if self.seen is None else self.seen
