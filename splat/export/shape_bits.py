"""What sizes and turns of rows pay for the room that they take in a file of few bits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from splat.core.objective import Objective
from splat.core.step import Step
from splat.formats.settings import Settings
from splat.formats.sog import steps_of
from splat.formats.sog_texels import smallest_three

_EVERY = 4
"""Steps between those that pay, for as many each: what bits cost changes slowly."""
_SMOOTH = (0.25, 0.5, 0.25)
"""How counts of neighbouring steps are mixed, for a number to see where others are near."""


@dataclass(frozen=True)
class ShapeBits(Objective):
    """Share of the picture's error that a row pays for each bit of its sizes and its turn.

    The image of a channel in a `.sog` takes about the entropy of its numbers. So a number on an
    even step costs -log2 of how often the numbers of its channel fall there, interpolated between
    steps: where it matters little to the pictures it moves to where many others are
    (entropy-constrained quantisation, Chou, Lookabaugh & Gray 1989, learned with what is drawn).
    Places are as good as random within their step, and colours are told by their neighbours.

    Paid is in units of the mean absolute error of the step's picture, so that a bit is worth as
    many dB in any scene.
    """

    share: float
    scale_step: float
    """Of logarithms of scales."""
    turn_step: float
    """Of a component of a quaternion, in bytes."""
    of_rows = True

    @classmethod
    def of(cls, share: float, settings: Settings) -> ShapeBits:
        """For a file whose numbers lie on the even steps of `sog_bits`."""
        _, turn, scale, _, _ = steps_of(settings)
        return cls(share, scale, turn)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        cloud = step.model.cloud
        if step.number % _EVERY:
            return torch.zeros((), device=cloud.device)
        turns, _ = smallest_three(normalize(cloud["quat"], dim=1))
        numbers = torch.cat([cloud["log_scale"] / self.scale_step, turns / self.turn_step], 1)
        bits = torch.stack([mean_bits(channel) for channel in numbers.unbind(1)]).sum()
        error, mask = (step.rendered.image.detach() - step.batch.image).abs(), step.batch.mask
        if mask is not None:
            error = error.where(mask[..., None] != 0, 0)
        return self.share * _EVERY * error.mean() * bits


def mean_bits(numbers: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Bits that a number takes in the mean, in steps of 1, by how often each step occurs."""
    values = numbers.detach()
    low = values.amin().round() - 1
    counts = (values.round() - low).long().bincount(minlength=1)
    counts = torch.nn.functional.pad(counts.to(numbers.dtype), (1, 2))
    kernel = counts.new_tensor(_SMOOTH)[None, None]
    shares = torch.nn.functional.conv1d(counts[None, None], kernel, padding=1)[0, 0] + 0.5
    table = -(shares / shares.sum()).log2()
    places = numbers - (low - 1)
    below = places.detach().floor().long()
    return torch.lerp(table[below], table[below + 1], places - below).mean()
