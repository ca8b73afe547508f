"""`Teacher`: a diffusion model of pictures, as what it says is used here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from splat.types import Camera


class Teacher(Protocol):
    """A diffusion model of pictures for texts: what noise it sees in noisy ones.

    Noisy are z_t = sqrt(abar) z + sqrt(1 - abar) e of what it makes of a picture (`latent`), with
    abar (`signal`) falling from 1 at time 0 to 0 at time 1. It is frozen: nothing of it is trained.
    """

    size: int
    """Side of the square pictures that it looks at, pixels."""
    channels: int
    """3: red, green and blue; 4: nearness, too (`splat.dream.distill.nearness`)."""
    background: tuple[float, float, float]
    """What is behind things in the pictures that it knows, 0 to 1."""

    def read(self, text: str) -> str:
        """The text as the teacher reads it; ValueError with a sentence where it cannot. An empty
        one is no text, which each can read."""
        ...

    def latent(self, picture: Float[Tensor, "c h w"]) -> Tensor:
        """What noise is added to, for a picture of values 0 to 1; gradients pass through it."""
        ...

    def signal(self, time: float) -> float:
        """The share abar of the variance of what is clean, at a time from 0 (clean) to 1."""
        ...

    def noise(
        self, noisy: Tensor, time: float, texts: Sequence[str], camera: Camera
    ) -> Float[Tensor, "texts ..."]:
        """The noise that it sees in one noisy latent, for each of some texts, from a camera.

        Of the camera only where it looks counts, so that the scene may be anywhere: z is up.
        """
        ...
