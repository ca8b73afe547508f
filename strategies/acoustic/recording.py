"""Recordings from masks: what a source plays, as each ear hears it.

One mixture mask and one difference mask by frequency for each pose (AV-NeRF, Liang et al. 2023);
over a path every frame of a sound has those of its own pose. What is expected is the level that
recordings have over what was played, in the mean of the training places.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from splat.strategies.acoustic.field import Masks, Tokens
from splat.strategies.acoustic.losses import magnitudes, sizes
from splat.strategies.acoustic.measure import FFT, stft

BINS = FFT // 2 + 1


def tokens() -> Tokens:
    """One frame, a number for each frequency."""
    return Tokens(torch.ones(1, 1), BINS, slice(0, 0), 1.0)


class Recorder(nn.Module):
    """What is expected of a scene's recordings, and how masks change it."""

    level: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(BINS))

    @torch.no_grad()
    def expect(self, heard: Float[Tensor, "n 2 samples"], dry: Float[Tensor, "n samples"]) -> None:
        """Take the mean level of recordings over what was played, by power."""
        power, played = torch.zeros(BINS), torch.zeros(BINS)
        for sound, source in zip(heard, dry, strict=True):
            power += stft(sound).abs().square().mean((0, 2)).cpu()
            played += stft(source).abs().square().mean(1).cpu()
        floor = 1e-6 * played.mean()
        self.level.copy_(((power + floor) / (played + floor)).log() / 2)

    def forward(self, masks: Masks) -> tuple[Float[Tensor, "b bins"], Float[Tensor, "b bins"]]:
        """Mixture mask, 0 or more, and difference mask, -1 to 1."""
        return torch.exp(self.level + masks.mixture[:, 0]), masks.difference[:, 0]


class RecordingLoss:
    """Mean square differences of magnitudes, of the mixture and of each ear, as AV-NeRF has them.

    In units of the mean square of the training recordings. The mixture is the mean of the ears.
    """

    def __init__(
        self, truth: Float[Tensor, "n 2 samples"], dry: Float[Tensor, "n samples"]
    ) -> None:
        self.truth, self.dry = truth, dry
        self.scale = torch.stack([magnitudes(t).square().mean() for t in truth]).mean()

    def __call__(
        self,
        mixture: Float[Tensor, "b bins"],
        difference: Float[Tensor, "b bins"],
        rows: Tensor,
    ) -> dict[str, Float[Tensor, ""]]:
        """Of some of the training places."""
        truth, played = self.truth[rows], sizes(stft(self.dry[rows]))
        found = (mixture[..., None] * played)[:, None]
        odd = difference[:, None, :, None]
        ears = torch.cat([found * (1 + odd), found * (1 - odd)], 1)
        mean = magnitudes(truth.mean(1))
        return {
            "mixture": (found[:, 0] - mean).square().mean() / self.scale,
            "ears": (ears - magnitudes(truth)).square().mean() / self.scale,
        }
